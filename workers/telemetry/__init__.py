"""Telemetry of a replica, its host and its GPUs. Only modules of this package import psutil and pynvml."""
