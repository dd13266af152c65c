"""A script is followed up to its last `fit`, and no line is run from which it cannot come to another."""

from __future__ import annotations

import ast
import sys
from pathlib import Path
from typing import Any

import pytest

from jobs.scripts.last_fit import LastFit

pytestmark = pytest.mark.unit


class End(BaseException): ...


def followed(path: Path, source: str) -> tuple[int, list[Any]]:
    """How many calls of `fit` are seen of `source`, and what it logs meanwhile."""
    path.write_text(source)
    last = LastFit({path: ast.parse(source)})
    logged: list[Any] = []
    fits = 0

    class Model:
        def fit(self) -> None:
            nonlocal fits
            sys.settrace(None)
            fits += 1
            if not last.may_fit_again(sys._getframe()):
                raise End
            last.follow(End)

    before = sys.gettrace()
    try:
        exec(compile(source, str(path), "exec"), {"m": Model(), "log": logged.append})
    except End:
        pass
    finally:
        sys.settrace(before)
    return fits, logged


@pytest.mark.parametrize(
    ("source", "fits", "logged"),
    [
        ("m.fit()\nlog('after')", 1, []),
        ("m.fit()\nlog(1)\nm.fit()\nlog('after')", 2, [1]),
        ("for fold in range(3):\n  m.fit()\n  log(fold)\nlog('after')", 3, [0, 1, 2]),
        ("n = 0\nwhile n < 2:\n  n += 1\n  m.fit()\nlog('after')", 2, []),
        ("[m.fit() for _ in range(3)]\nlog('after')", 3, []),
        ("m.fit()\nif False:\n  m.fit()\nlog('after')", 1, []),
        ("if True:\n  m.fit()\nelse:\n  m.fit()\nlog('after')", 1, []),
        ("with open('/dev/null'):\n  m.fit()\n  log(1)\n  m.fit()\n  log('after')\nlog('after')", 2, [1]),
        ("try:\n  m.fit()\n  log(1)\nfinally:\n  m.fit()\nlog('after')", 2, [1]),
        ("m.fit(); m.fit()\nlog('after')", 2, []),
        ("def train():\n  m.fit()\n  log('in')\ntrain()\ntrain()\nlog('after')", 2, ["in"]),
        ("def train(): m.fit()\ndef twice():\n  train()\n  train()\ntwice()\nlog('after')", 2, []),
        ("def main():\n  m.fit()\n  return 1\ndef show(x): log(x)\nx = main()\nshow(x)", 1, []),
        ("class T:\n  def go(self): m.fit()\nt = T()\nt.go()\nlog(1)\nt.go()\nlog('after')", 2, [1]),
        ("class T:\n  def __init__(self): m.fit()\nT()\nlog(1)\nT()\nlog('after')", 2, [1]),
        ("def train(x): m.fit()\nlist(map(train, [1, 2]))\nlog('after')", 2, []),
        ("class app:\n  run = lambda f: f()\ndef main():\n  m.fit()\n  log('in')\napp.run(main)", 1, []),
    ],
)
def test_the_last_fit_is_found_and_nothing_after_it_is_run(
    tmp_path: Path, source: str, fits: int, logged: list[Any]
) -> None:
    assert followed(tmp_path / "train.py", source) == (fits, logged)
