"""Inside a replica: processes, the training loop, modes, evaluation, telemetry. Never imports ray."""
