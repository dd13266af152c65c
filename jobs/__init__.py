"""The job API, the built-in jobs and their data. Nothing here depends on how a job is distributed."""
