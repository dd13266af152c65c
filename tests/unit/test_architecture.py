"""The shape of the house: no import cycles, few files at the top, no mode's name outside of the modes."""

from __future__ import annotations

import ast
from pathlib import Path

import grimp
import pytest

from tests.unit.test_hygiene import REPOSITORY, modules, trees
from workers.modes.registry import MODES, examples

pytestmark = pytest.mark.unit

NAMES = {*MODES, *examples()} - {"local", "switch"}
"""But for a backend, which is also Ray's word for an address, and a class of the report's page."""
LONGEST_FILE = 250
HOME_OF_MODES = Path("workers/modes")
MAY_NAME_MODES = {Path("orchestrator/spec/variants.py"), Path("workers/settings.py")}
"""The defaults of a comparison and of a run."""


def test_no_import_cycle() -> None:
    graph = grimp.build_graph("orchestrator", "workers", "jobs", exclude_type_checking_imports=False)
    edges = [(one, other) for one in graph.modules for other in graph.find_modules_directly_imported_by(one)]
    cycles = [edge for edge in edges if graph.find_shortest_chain(importer=edge[1], imported=edge[0])]
    assert len(edges) > 500
    assert not cycles


@pytest.mark.parametrize(("package", "most"), [("orchestrator", 8), ("workers", 12)])
def test_few_files_lie_directly_in_a_package(package: str, most: int) -> None:
    files = [path for path in modules().values() if path.parent == Path(package) and path.name != "__init__.py"]
    assert len(files) <= most, sorted(map(str, files))


def test_a_file_can_be_read_from_top_to_bottom() -> None:
    lines = {path: len((REPOSITORY / path).read_text(encoding="utf-8").splitlines()) for path in modules().values()}
    assert not {path: n for path, n in lines.items() if n > LONGEST_FILE}, "split these by what they hold"


def test_no_code_outside_of_the_modes_names_one() -> None:
    named = [
        f"{path}:{node.lineno}"
        for path, tree in trees().items()
        if not path.is_relative_to(HOME_OF_MODES) and path not in MAY_NAME_MODES
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and node.value in NAMES
    ]
    assert not named, "ask the ModeTraits instead"
