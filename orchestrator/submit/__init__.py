"""Submits runs to a cluster, which completes them without this machine."""
