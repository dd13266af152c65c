"""From a job's dataset to the batches that each worker trains on."""
