"""Runs handed to a cluster that goes on without this machine."""
