"""Modes, the ways in which replicas combine their work. Each has a file here and a row in `workers.modes.registry`."""
