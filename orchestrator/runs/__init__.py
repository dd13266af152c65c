"""Runs, each from its plan to its result."""
