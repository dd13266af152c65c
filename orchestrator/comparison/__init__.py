"""Comparisons: several runs of one job, paired, interleaved and judged."""
