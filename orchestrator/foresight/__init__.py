"""Predicts which mode, with how many workers, is worth paying for: a model, a simulator, a probe, and the advice."""
