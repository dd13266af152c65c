"""Modes: how replicas combine their work. One file each, and one row in `workers.modes.registry`."""
