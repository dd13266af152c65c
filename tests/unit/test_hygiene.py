"""Rules of the house that no other tool holds up: import time, addresses, links in the docs, docstrings."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

pytestmark = pytest.mark.unit

REPOSITORY = Path(__file__).parents[2]
PACKAGES = ("orchestrator", "workers", "jobs")


@cache
def files() -> tuple[Path, ...]:
    """What git has or would add, relative to the repository."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=True).stdout
    return tuple(sorted(Path(name) for name in listed.split("\0") if name and (REPOSITORY / name).is_file()))


def modules() -> dict[str, Path]:
    sources = [file for file in files() if file.suffix == ".py" and file.parts[0] in PACKAGES]
    return {".".join(file.with_suffix("").parts).removesuffix(".__init__"): file for file in sources}


@cache
def trees() -> dict[Path, ast.Module]:
    """The syntax of every module of the packages, by its file."""
    return {path: ast.parse((REPOSITORY / path).read_text(encoding="utf-8")) for path in modules().values()}


IMPORT_ALL = """
import importlib, json, sys, time
seconds = {}
for name in sys.argv[1:]:
    start = time.process_time()
    importlib.import_module(name)
    seconds[name] = time.process_time() - start
heavy = {"tensorflow", "keras", "ray", "scipy.stats", "plotly", "pyarrow", "matplotlib"} & set(sys.modules)
print(json.dumps({"seconds": seconds, "heavy": sorted(heavy)}))
"""


@cache
def imports() -> dict[str, dict[str, float]]:
    command = [sys.executable, "-c", IMPORT_ALL, *modules()]
    child = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert child.returncode == 0, child.stderr
    found: dict[str, dict[str, float]] = json.loads(child.stdout.splitlines()[-1])
    return found


def test_importing_everything_leaves_tensorflow_and_ray_out() -> None:
    assert not {"tensorflow", "keras", "ray"} & set(imports()["heavy"])


def test_importing_everything_is_quick() -> None:
    """Each module is to cost under 0.3 s; the sum is what a loaded machine can be held to. CPU seconds."""
    seconds = imports()["seconds"]
    slowest = sorted(seconds, key=lambda name: -seconds[name])[:5]
    report = ", ".join(f"{name} {seconds[name]:.2f} s" for name in slowest)
    assert sum(seconds.values()) < 3, f"slowest: {report}; loaded: {imports()['heavy']}"
    assert seconds[slowest[0]] < 1, report


def test_every_module_has_a_docstring() -> None:
    assert not [path for path, tree in trees().items() if not ast.get_docstring(tree)], "say what these are for"


# Written so that this file does not match itself.
MACHINE_PATH = re.compile(r"(?<![\w.~/-])/(?:work|root|tmp/venv)(?![\w.-])|\.pyenv[/]")
REGISTRY = re.compile(
    r"pypi[.]org|pythonhosted[.]org|npmjs[.]|registry[.]npm|deb[.]debian|debian[.]org|index[-_]url|find[-]links"
)


@pytest.mark.parametrize(
    ("folders", "matches"),
    [
        ("work main", True),
        ("root .ray", True),
        ("tmp venv bin", True),
        ("workers modes", False),
        ("a work", False),
    ],
)
def test_what_is_a_machine_path(folders: str, matches: bool) -> None:
    assert bool(MACHINE_PATH.search(f"cd '/{folders.replace(' ', '/')}'")) == matches


@pytest.mark.parametrize("pattern", [MACHINE_PATH, REGISTRY], ids=["machine paths", "registries"])
def test_no_addresses_of_one_machine(pattern: re.Pattern[str]) -> None:
    found = []
    for file in files():
        try:
            lines = (REPOSITORY / file).read_text(encoding="utf-8").splitlines()
        except UnicodeDecodeError:
            continue  # a binary file
        found += [f"{file}:{number}: {line.strip()}" for number, line in enumerate(lines, 1) if pattern.search(line)]
    assert not found


LINK = re.compile(r"\[[^\]]*\]\(<?([^)\s>]+)>?[^)]*\)")
FENCE = re.compile(r"^(```|~~~).*?^\1", re.MULTILINE | re.DOTALL)


def prose(path: Path) -> str:
    return FENCE.sub("", path.read_text(encoding="utf-8"))


def anchors(path: Path) -> set[str]:
    """The names that a Markdown viewer gives to headings."""
    headings = re.findall(r"^#+\s+(.*?)\s*#*$", prose(path), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def links() -> Iterator[tuple[Path, str]]:
    for file in files():
        if file.suffix == ".md":
            text = re.sub(r"`[^`\n]*`", "", prose(REPOSITORY / file))
            yield from ((file, target) for target in LINK.findall(text))


def test_links_in_the_docs_lead_somewhere() -> None:
    dead = []
    for file, target in links():
        if re.match(r"[a-z]+:", target):
            continue  # of the web: not looked at
        name, _, anchor = target.partition("#")
        path = REPOSITORY / file.parent / name if name else REPOSITORY / file
        if not path.exists() or (anchor and path.suffix == ".md" and anchor not in anchors(path)):
            dead.append(f"{file}: {target}")
    assert not dead


def test_nothing_in_the_docs_waits_to_be_filled_in() -> None:
    pages = [*REPOSITORY.glob("*.md"), *REPOSITORY.glob("docs/**/*.md")]
    assert not [page.name for page in pages if re.search(r"@@[A-Z]+@@|TODO|FIXME", page.read_text())]


def test_constraints_name_every_dependency_once() -> None:
    lines = (REPOSITORY / "constraints.txt").read_text().splitlines()
    pins = [line for line in lines if line and not line.startswith("#")]
    names = [pin.partition("==")[0] for pin in pins]
    assert all(re.fullmatch(r"[a-z0-9-]+==[\w.]+", pin) for pin in pins)
    assert names == sorted(set(names))
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    asked = [
        *project["dependencies"],
        *(line for extra in project["optional-dependencies"].values() for line in extra),
    ]
    wanted = {re.split(r"[^\w-]", line)[0].lower().replace("_", "-") for line in asked} - {"regatta"}
    assert wanted <= set(names)
