"""What a replica and its loss are doing: host and GPU telemetry, and the stability of the loss."""
