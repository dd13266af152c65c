"""Meddling, in a file that changes state of the whole process when it is read."""

from meddling import DOES, Meddling

READ = ("surroundings", "logs", "silence", "signals", "strict", "seeds", "variables", "interpreter", "tensorflow")
for name in READ:
    DOES[name]()


class Early(Meddling):
    pass
