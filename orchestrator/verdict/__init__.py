"""The verdict of a comparison and the statistics that it rests on: pure functions of run results.

`assemble` makes a `Comparison` from the results of its runs: `summarize` describes each variant over its seeds, and
`judge` compares every variant with the baseline. The rules are in docs/verdict.md, the estimators in
docs/statistics.md.
"""

from __future__ import annotations

from orchestrator.verdict.assemble import assemble
from orchestrator.verdict.judge import judge
from orchestrator.verdict.summary import summarize

__all__ = ["assemble", "judge", "summarize"]
