"""HTML elements. Every string is escaped unless it is `Html`."""

from __future__ import annotations

import html
import json
from collections.abc import Iterable, Sequence
from typing import Any

from orchestrator.text import plain

Child = object
"""`Html` is inserted as it is, an iterable child by child, None as nothing, and anything else as escaped text."""
_VOID = frozenset({"meta", "link", "br", "col"})


class Html(str):
    """Markup made by this package, never text from a job or a file."""

    __slots__ = ()


def el(tag: str, *children: Child, **attributes: object) -> Html:
    """`<tag attributes>children</tag>`. `class_` is class, `data_x` is data-x; None attributes are omitted."""
    given = "".join(
        f' {name.rstrip("_").replace("_", "-")}="{html.escape(plain(value), quote=True)}"'
        for name, value in attributes.items()
        if value is not None
    )
    return Html(f"<{tag}{given}>" if tag in _VOID else f"<{tag}{given}>{join(children)}</{tag}>")


def join(children: Iterable[Child]) -> Html:
    return Html("".join(_child(child) for child in children))


def _child(child: Child) -> str:
    if isinstance(child, Html):
        return child
    if child is None:
        return ""
    if isinstance(child, Iterable) and not isinstance(child, str):
        return join(child)
    return html.escape(plain(child), quote=True)


def preformatted(text: str) -> Html:
    """A block of preformatted lines, with a button that copies them."""
    lines = Html("\n".join(html.escape(plain(line), quote=True) for line in text.splitlines()))
    copy = el("button", "Copy", type="button", class_="copy")
    return el("div", copy, el("pre", el("code", lines), tabindex="0"), class_="copied")


def data_block(name: str, document: Any) -> Html:
    """JSON for report.js in an inert element, with the characters escaped that could end the element."""
    text = json.dumps(document, separators=(",", ":"), allow_nan=False)
    safe = text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
    return Html(f'<script type="application/json" id="{html.escape(name, quote=True)}">{safe}</script>')


def table(
    head: Sequence[Child], rows: Iterable[Sequence[Child]], *, numeric: Iterable[int] = (), sortable: bool = False
) -> Html:
    """A table that scrolls sideways if too wide; the first cell of a row is its header.

    The titles of a sortable one become buttons (assets/report.js).
    """
    right = frozenset(numeric)

    def cell(tag: str, index: int, child: Child, **more: object) -> Html:
        return el(tag, child, class_="number" if index in right else None, **more)

    body = [
        el("tr", (cell("td" if i else "th", i, child, scope=None if i else "row") for i, child in enumerate(row)))
        for row in rows
    ]
    return el(
        "div",
        el(
            "table",
            el("thead", el("tr", (cell("th", i, child, scope="col") for i, child in enumerate(head)))),
            el("tbody", body),
            class_="sortable" if sortable else None,
        ),
        class_="scroll",
        tabindex="0",
    )
