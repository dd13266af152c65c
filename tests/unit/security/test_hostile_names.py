"""Hostile names of jobs, variants, metrics and findings, and hostile output: shown, never interpreted."""

from __future__ import annotations

import html
import io
import json
import re
from pathlib import Path

import pytest
from rich.table import Table
from rich.text import Text

from orchestrator.cli.tables import print_rows
from orchestrator.cli.terminal import console, paragraph, visible
from orchestrator.report.figures import label
from orchestrator.report.markdown import escape
from orchestrator.report.markup import data_block, el, preformatted, table
from orchestrator.store.documents import to_text
from orchestrator.submit.jobs_api import _last_line
from tests.unit.security.conftest import unseen

# Not marked `unit`: it takes seconds, and the marked set has thirty.

NAMES = [
    "<script>alert(1)</script>",
    "</script><script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "<svg/onload=alert(1)>",
    "<iframe src=javascript:alert(1)>",
    '"><b>',
    "' onmouseover='alert(1)",
    '" style="background:url(http://evil)',
    "<!-- ",
    "--><b>",
    "<![CDATA[",
    "]]>",
    "<style>*{display:none}</style>",
    "</pre></code><b>",
    "<a href='http://evil'>x</a>",
    "<b>bold</b><br>",
    "&lt;b&gt;",
    "&#60;b&#62;",
    "javascript:alert(1)",
    "%{x}<extra></extra>",
    "[a](http://evil)",
    "![a](http://evil/x.png)",
    "[a]: http://evil",
    "| a | b |",
    "```\nx\n```",
    "`x`",
    "**x** __y__ ~~z~~",
    "# heading",
    "> quote",
    "- item",
    "1. item",
    "@everyone",
    "#1234",
    "http://evil.example",
    "www.evil.example",
    "$x^2$",
    "<!--\n-->",
    "a\nb",
    "a\r\nb",
    "a\x1b[2Jb",
    "a\x1b]8;;http://evil\x07b\x1b]8;;\x07",
    "a\x1bPq#0\x1b\\b",
    "a\x9b31mb",
    "a\x00b",
    "a\x08\x08b",
    "a\x7fb",
    "a\u202eb\u202c",
    "a\u2066b\u2069",
    "a\u200b\u200d\ufeffb",
    "a\u2028b\u2029c",
    "a\ud800b",
    "a\U000e0041b",
    "[red]a[/red] [link=http://evil]b[/link]",
    ":smile:",
    "{{7*7}} ${7*7} #{7*7}",
    "x" * 10_000,
    "\x1b" * 1000,
]
_TAG = re.compile(r"<(?!/?(?:b|td|th|tr|pre|code|div|table|thead|tbody|script)\b[^<>]*>)")


@pytest.mark.parametrize("name", NAMES, ids=lambda name: ascii(name)[:24])
class TestNames:
    def test_in_html(self, name: str) -> None:
        made = el("b", name, title=name)
        assert made.startswith("<b ")
        assert made.endswith("</b>")
        assert made.count("<") == made.count(">") == 2
        assert made.count('"') == 2
        assert "'" not in made
        assert not unseen(html.unescape(made))
        page = preformatted(name) + table([name], [[name, name]])
        assert "<script" not in page
        assert "<img" not in page
        assert not unseen(html.unescape(page))

    def test_in_a_script(self, name: str) -> None:
        block = data_block("figures", {"name": name, name: 1})
        inside = block.removeprefix('<script type="application/json" id="figures">').removesuffix("</script>")
        assert not set("<>&") & set(inside)
        assert inside.isascii()
        assert json.loads(inside)["name"] == name

    def test_in_a_chart(self, name: str) -> None:
        """Plotly interprets <b> and <a href> in any text."""
        assert not set("<>") & set(label(name))
        assert not unseen(label(name))

    def test_in_markdown(self, name: str) -> None:
        text = escape(name)
        assert "\n" not in text
        assert not unseen(text)
        assert not re.search(r"(?<!\\)[`*<|~$]", text)
        assert not re.search(r"(?<!\\)\]\(|://|www\.|@|(?<!\\)(?<!&)#\d", text)

    def test_on_the_terminal(self, name: str) -> None:
        grid = Table.grid()
        grid.add_row(Text(name), Text(name, style="bold"))
        for is_terminal in (False, True):
            screen = console()
            screen.file = io.StringIO()
            screen._force_terminal = is_terminal
            for shown in (name, Text(name), grid):
                screen.print(shown, markup=False, emoji=False, highlight=False)
            print_rows([(name, name)], screen)
            written = re.sub(r"\x1b\[[0-9;]*m", "", screen.file.getvalue())  # rich's own styles
            assert not unseen(written)

    def test_in_a_message(self, name: str) -> None:
        assert not unseen(visible(name))
        assert visible(name).count("\n") == name.replace("\r\n", "\n").count("\n")
        assert "\n" not in paragraph(name)
        assert len(paragraph(name)) < 1300
        assert not unseen(visible(_last_line(name)))

    def test_in_json(self, name: str) -> None:
        text = to_text({name: [name]}, indent=2)
        assert not unseen(text)
        assert json.loads(text) == {name: [name]}
        text.encode()


def test_everything_that_is_printed_goes_the_one_way() -> None:
    """`console` and `say` escape text; any other way to print would not."""
    root = Path(__file__).parents[3] / "orchestrator"
    ways = re.compile(
        r"(?<!class )\bConsole\(|\btyper\.echo\(|\bclick\.echo\(|(?<![\w.])print\(|sys\.std(?:out|err)\.write"
    )
    exceptions = {
        "cli/terminal.py": 2,  # `say`, and JSON, which escapes control characters itself
        "cli/kuberay.py": 1,  # YAML, which escapes control characters itself
        "cli/serve_config.py": 1,  # the same
        "sinks/wandb_client.py": 2,  # JSON, to the process that asked
        "doctor/machine.py": 1,  # the text of a child process
        "submit/transfer.py": 1,  # base64
    }
    for file in root.rglob("*.py"):
        found = [line for line in file.read_text().splitlines() if ways.search(line)]
        assert len(found) == exceptions.get(str(file.relative_to(root)), 0), (file, found)
