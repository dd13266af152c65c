"""Benchmarks of Regatta against the alternatives that a user has: `python -m benchmarks`.

docs/performance.md explains the figures. `verdict_calibration` measures the statistics instead.
"""
