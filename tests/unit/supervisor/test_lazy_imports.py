"""Lazy modules run once, at their first use, and then behave like other modules."""

from __future__ import annotations

import importlib
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pytest

from workers.supervisor.lazy_imports import import_lazily

pytestmark = pytest.mark.unit

NAME = "lazily.imported"


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], ModuleType]]:
    """Writes the module `lazily.imported` and imports it, lazily."""
    package = tmp_path / "lazily"
    package.mkdir()
    (package / "__init__.py").write_text("runs = []\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "meta_path", list(sys.meta_path))

    def written(source: str) -> ModuleType:
        (package / "imported.py").write_text(f"import lazily\nlazily.runs.append(__name__)\n{source}\n")
        import_lazily(NAME)
        return importlib.import_module(NAME)

    yield written
    for name in ("lazily", NAME):
        sys.modules.pop(name, None)


def runs() -> int:
    return len(sys.modules["lazily"].runs)


def test_a_module_runs_once_at_its_first_use(write: Callable[[str], ModuleType]) -> None:
    module = write("value = 7")
    assert importlib.import_module(NAME) is module is sys.modules["lazily"].imported
    assert runs() == 0
    assert [module.value, module.value] == [7, 7]
    assert runs() == 1
    assert type(module) is ModuleType
    with pytest.raises(AttributeError, match=r"module 'lazily\.imported' has no attribute 'other'"):
        _ = module.other


def test_attributes_that_tools_read_of_every_module_do_not_run_it(write: Callable[[str], ModuleType]) -> None:
    """AutoGraph reads `__file__` of all of `sys.modules`, `warnings` looks for a registry."""
    module = write("value = 7")
    assert module.__file__ is not None
    assert module.__spec__ is not None
    assert not hasattr(module, "__warningregistry__")
    assert runs() == 0


@pytest.mark.parametrize("use", ["from lazily.imported import value", "from lazily.imported import *"])
def test_every_way_of_importing_from_it(write: Callable[[str], ModuleType], use: str) -> None:
    write("value = 7")
    names: dict[str, object] = {}
    exec(use, names)
    assert names["value"] == 7


def test_listing_and_setting_names_are_uses(write: Callable[[str], ModuleType]) -> None:
    module = write("value = 7\ndef twice():\n    return 2 * value")
    module.value = 8
    assert "twice" in dir(module)
    assert module.twice() == 16
    assert runs() == 1


def test_a_module_that_is_not_installed_raises_when_imported(write: Callable[[str], ModuleType]) -> None:
    write("")
    import_lazily("lazily.absent", "absent_package")
    for name in ("lazily.absent", "absent_package"):
        with pytest.raises(ModuleNotFoundError):
            importlib.import_module(name)


def test_a_module_that_fails_raises_at_each_use(write: Callable[[str], ModuleType]) -> None:
    module = write("import absent_package\nvalue = 7")
    for _ in range(2):
        with pytest.raises(ModuleNotFoundError, match="absent_package"):
            _ = module.value
    assert runs() == 2


def test_threads_wait_until_the_module_has_run(write: Callable[[str], ModuleType]) -> None:
    module = write("import time\ntime.sleep(0.05)\nvalue = 7")
    seen: list[int] = []
    threads = [threading.Thread(target=lambda: seen.append(module.value)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert seen == [7] * 8
    assert runs() == 1
