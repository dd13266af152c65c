"""What Regatta costs and what it gains, against what a user would pick instead: `python -m benchmarks`.

See docs/performance.md for what each figure means. `verdict_calibration` measures the statistics instead.
"""
