"""`Findings`: an action is told only if it was taken."""

from __future__ import annotations

import pytest

from orchestrator.results import Finding
from orchestrator.runs.findings import Findings
from workers.news import LegFinished

pytestmark = pytest.mark.unit

FINISHED = LegFinished("r", 500, 32_000, 5.0, "nan", 500)


def finding(kind: str, step: int, action: str = "warned") -> Finding:
    return Finding(kind=kind, step=step, symptom="it is", action=action)


def actions(*found: Finding, reason: str) -> list[str]:
    findings = Findings()
    for one in found:
        findings.add(one)
    return [one.action for one in findings.taken(reason, FINISHED)]


def test_a_run_that_was_over_before_was_not_stopped() -> None:
    stopped = finding("divergence", 400, "stopped")
    assert actions(stopped, reason="budget") == ["warned"]
    assert actions(stopped, reason="divergence at step 400") == ["stopped"]


def test_lost_weights_stop_a_run_and_the_last_bad_loss_says_so() -> None:
    assert actions(finding("nan", 10), finding("spike", 300), finding("nan", 400), reason="nan") == [
        "warned", "warned", "stopped",
    ]  # fmt: skip


def test_lost_weights_without_a_bad_loss_are_a_finding() -> None:
    findings = Findings()
    findings.add(finding("spike", 300))
    one, other = findings.taken("nan", FINISHED)
    assert (one.action, other.kind, other.step, other.action) == ("warned", "nan", 500, "stopped")


def test_a_rollback_is_told_of_the_finding_that_caused_it_once_it_was_made() -> None:
    findings = Findings()
    findings.add(finding("nan", 400, "rolled back to step 60"))
    assert findings.taken("target", None)[0].action == "warned", "the run reached its target instead"
    findings.add(finding("spike", 410))
    findings.rolled_back(60)
    findings.add(finding("nan", 700, "stopped"))
    assert [one.action for one in findings.taken("nan", FINISHED)] == ["rolled back to step 60", "warned", "stopped"]
