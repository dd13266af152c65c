"""Live views of a run: the dashboard, plain lines, and `regatta watch`."""
