"""Meddling, with code that changes state of the whole process when the file is read: `EARLY` in the class' name."""

from meddling import DOES, Meddling

for _name in ("surroundings", "logs", "signals", "strict", "seeds", "variables", "interpreter", "tensorflow", "terminated"):
    DOES[_name]()


class Early(Meddling):
    pass
