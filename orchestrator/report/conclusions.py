"""How a run ended, and a verdict: the answer with its reasons, and each question with its numbers."""

from __future__ import annotations

from collections.abc import Sequence

from orchestrator import text
from orchestrator.report.drawing import chip, section
from orchestrator.report.markup import Html, el, table
from orchestrator.report.palette import colours
from orchestrator.report.recovery import UNDER_WAY
from orchestrator.report.standing import efficiency_text
from orchestrator.report.study import Study
from orchestrator.results import Answer, Distributing, RunResult
from orchestrator.verdict.statistics import Estimate
from orchestrator.verdict.wording import points
from workers.messages import NOT_FINITE

_MOST_ITEMS = 8
_MOST_COMPARED = 3
_CONFIDENCE = {
    "none": "No confidence: the data do not decide",
    "low": "Low confidence",
    "moderate": "Moderate confidence",
    "high": "High confidence",
}


def verdict(study: Study) -> Html | None:
    """Whether distributing is worth it; headline, numbers, confidence, caveats, reasons and advice."""
    if study.comparison is None:
        return None
    found = study.comparison.verdict
    return el(
        "section",
        *_worth(found.distributing),
        el("p", "Verdict", class_="kicker"),
        el("h2", found.headline, class_="headline"),
        *_numbers(found.numbers),
        el("p", _CONFIDENCE[found.confidence], class_=f"badge {found.confidence}"),
        _listed("Mind", found.caveats),
        _listed("Why", found.reasons),
        _listed("What to try next", found.next_steps),
        id="verdict",
    )


def headline(result: RunResult) -> str:
    """How a run ended, in a dozen words."""
    target = result.target
    goal = f"{target.metric} {target.op} {target.value:g}" if target is not None else ""
    if result.stop_reason == UNDER_WAY:
        return f"Training: {result.steps or 0:,} steps so far"
    if target is not None and target.reached and result.status != "failed":
        return f"Reached {goal} after {text.seconds(target.seconds)}"
    if result.status != "succeeded":
        reason = "a loss or weight is not finite (nan)" if result.stop_reason == NOT_FINITE else result.stop_reason
        return text.plain(f"{result.status.capitalize()}{': ' if reason else ''}{reason or ''}", 90)
    if goal:
        return f"Did not reach {goal}"
    return f"Trained {result.steps or 0:,} steps in {text.seconds(result.seconds.spent)}"


def _numbers(sentence: str) -> list[Html]:
    """The numbers under the headline, of which those of further variants are folded away."""
    parts = sentence.split("; ") if sentence else []
    first, rest = "; ".join(parts[:_MOST_COMPARED]), parts[_MOST_COMPARED:]
    if not rest:
        return [el("p", first)] if first else []
    more = el("details", el("summary", f"{len(rest)} more"), el("ul", (el("li", part) for part in rest)))
    return [el("p", first), more]


def _worth(found: Distributing | None) -> list[Html]:
    if found is None:
        return []
    efficiency = efficiency_text(found)
    note = [el("p", efficiency, class_="note")] if efficiency else []
    return [el("p", "Is it worth distributing?", class_="kicker"), el("p", el("strong", found.answer)), *note]


def answers(study: Study) -> Html | None:
    """The answer to each question of the verdict, with its numbers."""
    if study.comparison is None or not study.comparison.verdict.answers:
        return None
    colour = colours(study.modes)
    rows = [
        [
            answer.question,
            answer.variant or text.MISSING,
            chip(answer.winner, colour.get(answer.winner)) if answer.winner else "no winner",
            _advantage(answer),
            _p(answer),
        ]
        for answer in study.comparison.verdict.answers
    ]
    head = ["question", f"compared with {study.comparison.baseline}", "winner", "advantage, 95 % interval", "p"]
    return section(
        "Question by question",
        el(
            "p",
            "The advantage is that of the winner, or of the variant if there is no winner; p is of the difference, "
            "or of equality (TOST) if quality is equal.",
            class_="note",
        ),
        table(head, rows),
        id_="answers",
    )


def _listed(title: str, items: Sequence[str]) -> Html | None:
    if not items:
        return None
    first, rest = items[:_MOST_ITEMS], items[_MOST_ITEMS:]
    more = el("details", el("summary", f"{len(rest)} more"), el("ul", (el("li", item) for item in rest)))
    return el("div", el("h3", title), el("ul", (el("li", item) for item in first)), more if rest else None)


def _advantage(answer: Answer) -> str:
    if answer.ratio is not None:
        return text.factor(answer.ratio.value, answer.ratio.low, answer.ratio.high)
    if answer.difference is not None:
        found = answer.difference
        return points(Estimate(found.value, found.low, found.high))
    return text.MISSING


def _p(answer: Answer) -> str:
    p = answer.p_value
    return text.MISSING if p is None else "< 0.001" if p < 0.001 else f"{p:.3f}"
