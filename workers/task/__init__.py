"""A task's own process."""
