"""HTML that is safe by construction: every string is escaped unless it was made here."""

from __future__ import annotations

import html
import json
from collections.abc import Iterable, Sequence
from typing import Any

from orchestrator.text import plain

Child = object
"""`Html` as it is; an iterable of children in turn; null as nothing; anything else as its escaped text."""
_VOID = frozenset({"meta", "link", "br", "col"})


class Html(str):
    """Markup that was made here, never text that came from outside."""

    __slots__ = ()


def el(tag: str, *children: Child, **attributes: object) -> Html:
    """`<tag attributes>children</tag>`. `class_` is class, `data_x` is data-x; null attributes are left out."""
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
    """Several lines as they are, each made harmless."""
    return el("pre", el("code", Html("\n".join(html.escape(plain(line), quote=True) for line in text.splitlines()))))


def data_block(name: str, document: Any) -> Html:
    """JSON for our script to read: inert, and without a character that could end it early."""
    text = json.dumps(document, separators=(",", ":"), allow_nan=False)
    safe = text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
    return Html(f'<script type="application/json" id="{html.escape(name, quote=True)}">{safe}</script>')


def table(
    head: Sequence[Child], rows: Iterable[Sequence[Child]], *, caption: str | None = None, numeric: Iterable[int] = ()
) -> Html:
    """A table that scrolls sideways where it has to; the first cell of a row names the row."""
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
            el("caption", caption) if caption else None,
            el("thead", el("tr", (cell("th", i, child, scope="col") for i, child in enumerate(head)))),
            el("tbody", body),
        ),
        class_="scroll",
        tabindex="0",
    )
