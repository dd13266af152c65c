"""Sweeps: many runs of one job that search for the best values of its parameters."""
