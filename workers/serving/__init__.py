"""A SavedModel in the process that serves it."""
