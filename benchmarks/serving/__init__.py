"""Measures `regatta serve`: against FastAPI with the same SavedModel, and under hours of load."""
