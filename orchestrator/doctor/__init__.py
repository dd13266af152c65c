"""`regatta doctor`: whether this machine is fit for a run, and what to do if it is not."""
