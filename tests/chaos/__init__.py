"""Injects faults into running jobs, and checks that nothing was lost, doubled or left behind."""
