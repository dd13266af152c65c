"""Specs: the frozen, validated description of a run or a comparison."""
