"""Controls a worker group: polls it, decides what to do, and carries it out."""
