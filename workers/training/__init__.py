"""The training loop, which is the same for every mode, with its callbacks, schedules, reports and the evaluator."""
