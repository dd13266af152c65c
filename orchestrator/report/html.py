"""report.html: one file that opens offline and never loads anything from the network.

Plotly.js is inlined, without its web addresses: its basic bundle, which draws lines, bars and pies (assets/plotly, with
its licence). A Content-Security-Policy forbids every request, and allows only the two scripts written here, by their
hashes, so that a script in a job's name would not run either.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Callable, Sequence
from functools import cache
from importlib import resources
from typing import NamedTuple

from orchestrator.doctor.environment import version
from orchestrator.report import conclusions, sections
from orchestrator.report.conditions import described
from orchestrator.report.judged import predicted
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
    predicted,
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
    ("predictions", "Predictions"),
    ("runs", "Runs"),
    ("repeat", "How to repeat it"),
)
_ASKS = "; connect-src 'self'"
_THEME = el("button", "Dark", id="theme", type="button", aria_label="Switch between dark and light")
_MOST_NAMED = 5
_ADDRESS = re.compile(r"https?://(?!www\.w3\.org/)")
"""Web addresses, except the names of XML namespaces, which SVG needs."""


class Live(NamedTuple):
    """What makes a page of `regatta watch --web`, which asks its server for newer versions."""

    version: str
    state: str
    """A sentence on how far training is."""


def page(study: Study, live: Live | None = None) -> str:
    """The file as text: 1.2 MB, nearly all of it Plotly.js. With `live` it asks its own server for newer versions."""
    shown = [section for build in SECTIONS if (section := build(study)) is not None]
    title = f"{study.job}: {'comparison' if study.comparison else 'run'} {study.name}"
    return document(title, _header(study, shown), shown, live)


def empty_page(name: str, live: Live) -> str:
    """The page of a run before anything was measured."""
    words = el("div", el("h1", plain(name, 120)), el("p", class_="meta"), el("nav"))
    return document(name, el("header", words, _THEME, class_="page"), [], live)


def document(title: str, header: Html, sections: list[Html], live: Live | None = None) -> str:
    """A whole page, with its styles and scripts."""
    scripts = [Html(plotly()), Html(_asset("report.js"))]
    if live is not None:
        scripts.append(Html(_asset("live.js")))
    head = el(
        "head",
        el("meta", charset="utf-8"),
        el("meta", http_equiv="Content-Security-Policy", content=policy(scripts, asks=live is not None)),
        el("meta", name="viewport", content="width=device-width, initial-scale=1"),
        el("meta", name="referrer", content="no-referrer"),
        el("link", rel="icon", href="data:,"),
        el("title", plain(title, 120)),
        el("style", Html(_asset("report.css"))),
    )
    body = el(
        "body",
        header,
        el("p", live.state, id="live", role="status") if live is not None else None,
        el("main", sections),
        _footer(live),
        el("noscript", "The charts need JavaScript; the verdict and the tables do not."),
        (el("script", script) for script in scripts),
    )
    document = el("html", head, body, lang="en", data_version=live.version if live is not None else None)
    return f"<!doctype html>\n{document}\n"


def policy(scripts: list[Html], *, asks: bool = False) -> str:
    """Content-Security-Policy: styles and images are inline, and only these scripts run.

    Nothing is fetched, or with `asks` from the page's own server only.
    """
    digests = (hashlib.sha256(script.encode()).digest() for script in scripts)
    hashes = " ".join(f"'sha256-{base64.b64encode(digest).decode()}'" for digest in digests)
    return (
        f"default-src 'none'; script-src {hashes}; style-src 'unsafe-inline'; img-src data: blob:; "
        f"base-uri 'none'; form-action 'none'{_ASKS if asks else ''}"
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
    meta = f"{plain(study.name, 120)}, {', '.join(words)}"
    return heading(f"{plain(study.job, 120)}: {_variants(study)}", meta, links)


def heading(title: str, meta: str, links: Sequence[tuple[str, str]]) -> Html:
    """The top of a page, with links to sections by their ids."""
    nav = el("nav", (el("a", text, href=f"#{anchor}") for anchor, text in links))
    return el("header", el("div", el("h1", title), el("p", meta, class_="meta"), nav), _THEME, class_="page")


def _variants(study: Study) -> str:
    few = len(study.modes) <= _MOST_NAMED
    return ", ".join(plain(name, 40) for name in study.modes) if few else plural(len(study.modes), "variant")


def _footer(live: Live | None) -> Html:
    maker = f"Made by Regatta {version('regatta') or ''}".strip()
    what = "This file is self-contained and loads nothing." if live is None else "Shown by `regatta watch --web`."
    return el("footer", el("p", f"{maker}. {what}"), class_="page")
