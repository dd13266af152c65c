"""Faults injected into running jobs, and the proof that nothing was lost, doubled or left behind."""
