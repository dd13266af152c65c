"""What is asked for: the frozen, validated description of a run and of a comparison."""
