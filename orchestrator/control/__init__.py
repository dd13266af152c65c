"""Polls a worker group, decides, and has the decision carried out."""
