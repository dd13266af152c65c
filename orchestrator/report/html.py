"""report.html: one file that opens offline and never loads anything from the network.

Plotly.js is inlined, without its web addresses: its basic bundle, which draws lines, bars and pies (assets/plotly, with
its licence). A Content-Security-Policy forbids every request, and allows only the two scripts written here, by their
hashes, so that a script in a job's name would not run either.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Callable
from functools import cache
from importlib import resources

from orchestrator.doctor.environment import version
from orchestrator.report import conclusions, sections
from orchestrator.report.conditions import described
from orchestrator.report.markup import Html, el
from orchestrator.report.repeating import repeat
from orchestrator.report.study import Study
from orchestrator.text import plain, plural

SECTIONS: tuple[Callable[[Study], Html | None], ...] = (
    conclusions.verdict,
    sections.run,
    sections.standing,
    described,
    sections.learning,
    sections.time,
    sections.utilisation,
    sections.staleness,
    sections.stability,
    conclusions.answers,
    sections.runs,
    repeat,
)
"""Sections in their order on the page. A section without content returns None."""
_LINKS = (
    ("run", "The run"),
    ("glance", "At a glance"),
    ("conditions", "Conditions"),
    ("learning", "Learning"),
    ("time", "Time"),
    ("utilisation", "Utilisation"),
    ("stability", "Stability"),
    ("runs", "Runs"),
    ("repeat", "How to repeat it"),
)
_MOST_NAMED = 5
_ADDRESS = re.compile(r"https?://(?!www\.w3\.org/)")
"""Web addresses, except the names of XML namespaces, which SVG needs."""


def page(study: Study) -> str:
    """The file as text: 1.2 MB, nearly all of it Plotly.js."""
    shown = [section for build in SECTIONS if (section := build(study)) is not None]
    scripts = [Html(plotly()), Html(_asset("report.js"))]
    title = f"{study.job}: {'comparison' if study.comparison else 'run'} {study.name}"
    head = el(
        "head",
        el("meta", charset="utf-8"),
        el("meta", http_equiv="Content-Security-Policy", content=policy(scripts)),
        el("meta", name="viewport", content="width=device-width, initial-scale=1"),
        el("meta", name="referrer", content="no-referrer"),
        el("link", rel="icon", href="data:,"),
        el("title", plain(title, 120)),
        el("style", Html(_asset("report.css"))),
    )
    body = el(
        "body",
        _header(study, shown),
        el("main", shown),
        _footer(),
        el("noscript", "The charts need JavaScript; the verdict and the tables do not."),
        (el("script", script) for script in scripts),
    )
    return f"<!doctype html>\n{el('html', head, body, lang='en')}\n"


def policy(scripts: list[Html]) -> str:
    """Content-Security-Policy: nothing is fetched, styles and images are inline, and only these scripts run."""
    digests = (hashlib.sha256(script.encode()).digest() for script in scripts)
    hashes = " ".join(f"'sha256-{base64.b64encode(digest).decode()}'" for digest in digests)
    return (
        f"default-src 'none'; script-src {hashes}; style-src 'unsafe-inline'; img-src data: blob:; "
        "base-uri 'none'; form-action 'none'"
    )


@cache
def plotly() -> str:
    """Plotly.js without web addresses."""
    script = _ADDRESS.sub("", _asset("plotly/plotly-basic.min.js"))
    if "</script" in script.lower() or "<!--" in script:
        raise AssertionError("this Plotly.js cannot be inlined: it contains the end of a script")
    return script.strip()


def _asset(name: str) -> str:
    return resources.files("orchestrator.report").joinpath("assets", name).read_text(encoding="utf-8")


def _header(study: Study, shown: list[Html]) -> Html:
    words = [plural(len(study.runs), "run")]
    if study.comparison is not None:
        words.append(plural(len(study.comparison.seeds), "seed"))
    links = [(anchor, text) for anchor, text in _LINKS if any(f'<section id="{anchor}">' in part for part in shown)]
    return el(
        "header",
        el(
            "div",
            el("h1", f"{plain(study.job, 120)}: {_variants(study)}"),
            el("p", f"{plain(study.name, 120)}, {', '.join(words)}", class_="meta"),
            el("nav", (el("a", text, href=f"#{anchor}") for anchor, text in links)),
        ),
        el("button", "Dark", id="theme", type="button", aria_label="Switch between dark and light"),
        class_="page",
    )


def _variants(study: Study) -> str:
    few = len(study.modes) <= _MOST_NAMED
    return ", ".join(plain(name, 40) for name in study.modes) if few else plural(len(study.modes), "variant")


def _footer() -> Html:
    maker = f"Made by Regatta {version('regatta') or ''}".strip()
    return el("footer", el("p", f"{maker}. This file is self-contained and loads nothing."), class_="page")
