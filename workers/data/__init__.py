"""Turns a job's dataset into the batches that each worker trains on."""
