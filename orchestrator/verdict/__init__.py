"""The verdict of a comparison, and the statistics it rests on: pure functions of results.

`judge` gives the verdict on any number of variants against a baseline, `summarize` one variant over its seeds.
docs/verdict.md has the rules, docs/statistics.md the estimators.
"""

from __future__ import annotations

from orchestrator.verdict.judge import judge
from orchestrator.verdict.summary import summarize
from orchestrator.verdict.wording import ONE_AFTER_ANOTHER

__all__ = ["ONE_AFTER_ANOTHER", "judge", "summarize"]
