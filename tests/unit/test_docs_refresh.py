"""`python -m docs.refresh`: what pages show of commands is replaced by what these print now."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from docs.refresh import PAGES, GoneError, refresh, refreshed, shown

pytestmark = pytest.mark.unit

PAGE = """
# A page

```console
$ printf 'one 1\\ntwo 2\\n   three 3\\n'
one 0
...
   three 0

$ printf 'digits-run-20261130 %s\\n' \\
    more
digits-run-1999 less
```

<!-- by hand: it needs a cluster -->
```console
$ false
nothing
```

<!-- output of: printf 'head\\nfour 4\\nfive 5\\n\\nsix 6\\nseven 7\\n' -->
```text
four 0
six
gone

six 0
```
"""


def test_lines_are_replaced_in_order(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(PAGE)
    text, gone = refresh(page)
    assert gone == []
    new = {"one 0": "one 1", "   three 0": "   three 3", "digits-run-1999 less": "digits-run-20261130 more"}
    new |= {"four 0\nsix\ngone": "four 4\nfive 5", "six 0": "six 6\nseven 7"}
    expected = PAGE
    for old, now in new.items():
        expected = expected.replace(f"\n{old}\n", f"\n{now}\n")
    assert text == expected


def test_a_line_that_is_no_longer_printed_is_named() -> None:
    with pytest.raises(GoneError, match="no line begins with 'final'"):
        refreshed(["mode sync", "final loss 1"], ["mode async", "last loss 2"])


def test_a_line_is_not_taken_from_before_the_one_above_it() -> None:
    assert refreshed(["b 0", "a 0"], ["a 1", "b 1", "a 2"]) == ["b 1", "a 2"]


def test_a_table_is_replaced_whole() -> None:
    shown_now = ["...", "trial value", "───────────", "    1   0.5", "", "2 of 2 ended"]
    printed = ["trial 1 ended", "trial value", "─────────", "    7   0.9", "    3   0.8", "", "3 of 3 ended"]
    assert refreshed(shown_now, printed[1:]) == ["...", *printed[1:]]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_console_block_begins_with_a_command(page: Path) -> None:
    for block in page.read_text().split("```console\n")[1:]:
        body = block.partition("```")[0]
        assert body.startswith("$ ")
        assert all(part.command.startswith("$ ") for part in shown(body))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_block_of_output_is_a_commands_or_says_why_not(page: Path) -> None:
    text = page.read_text()
    for block in re.finditer(r"^```(\w*)\n.*?^```$", text, re.MULTILINE | re.DOTALL):
        assert block[1], f"a block of {page.name} does not say what it is"
        if block[1] == "text":
            assert re.search(r"^<!-- (by hand|output of): .+ -->$", text[: block.start()].rstrip("\n").splitlines()[-1])
