"""The run folder: every read and every write of it."""
