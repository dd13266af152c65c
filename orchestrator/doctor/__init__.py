"""`regatta doctor`: checks whether this machine can run Regatta, and says how to fix what it lacks."""
