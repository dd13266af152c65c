"""Everything that runs in a replica: supervisor, task process, training loop, modes, telemetry. Never imports Ray."""
