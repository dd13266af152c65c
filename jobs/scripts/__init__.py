"""Scripts that end in `model.fit(...)`, run as jobs without being changed."""
