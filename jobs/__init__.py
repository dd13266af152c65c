"""What is trained: the job API, the built-in jobs and their data. Knows nothing of distribution."""
