"""A loss of power at any moment: what has its final name is whole, and what was promised is still there.

A preloaded library records how a process changes files; a model of a disk says what is left of them, at worst. Names
may reach a disk at any time, content and a folder's names for certain only when they are flushed.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.marked import slow
from tests.preloaded import compiled

CHECKPOINTS = """
from tests.unit.checkpoints.snapshots import ABOUT, a_snapshot
from workers.checkpoints.storage import LocalStorage
from workers.checkpoints.store import CheckpointStore
store = CheckpointStore(LocalStorage(folder / "run" / "checkpoints"), "run")
store.claim(1)
for step in (10, 20):
    name, _ = store.write(a_snapshot(step), 1, ABOUT)
    promise(f"run/checkpoints/{name}/arrays.npz", f"run/checkpoints/{name}/manifest.json")
"""
DOCUMENTS = """
from orchestrator.store.directory import RunStore
from orchestrator.store.locks import claim_directory
store = RunStore(claim_directory(folder / "runs" / "run"))
for version in range(2):
    store.write_spec({"job": "digits", "seed": version})
    store.write_plan({"tasks": [version]})
    promise("runs/run/spec.yaml", "runs/run/plan.json")
"""
FINAL_WEIGHTS = """
import keras
from jobs.api import Job
from workers import files
from workers.model import state
from workers.training.export import export
class NoJob(Job):
    def after_training(self, model, directory): ...
model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
model.compile("sgd", "mse")
files.make_folder(folder / "run")
export(NoJob.__new__(NoJob), model, state.read(model), folder / "run")
promise("run/checkpoints/final.weights.h5")
"""
PREAMBLE = """
import os, sys
from pathlib import Path
folder = Path(sys.argv[1])
def promise(*names):
    for name in names:
        os.write(int(os.environ["CALLS"]), f"promise {folder / name}\\n".encode())
"""


@dataclass
class File:
    flushed: bool = True


@dataclass
class Folder:
    names: dict[str, File | Folder] = field(default_factory=dict)
    flushed: set[str] = field(default_factory=set)


class Disk:
    """What a process has done to the files below `root`."""

    def __init__(self, root: Path) -> None:
        self.root, self.top = root, Folder()

    def _place(self, path: Path) -> tuple[Folder, str]:
        folder = self.top
        *parents, name = path.relative_to(self.root).parts
        for part in parents:
            found = folder.names[part]
            assert isinstance(found, Folder)
            folder = found
        return folder, name

    def apply(self, call: str, path: Path, to: Path | None = None) -> None:
        if path == self.root:
            self.top.flushed = set(self.top.names)
            return
        folder, name = self._place(path)
        match call:
            case "mkdir":
                folder.names[name] = Folder()
            case "write":
                folder.names.setdefault(name, File()).flushed = False  # type: ignore[assignment]
            case "fsync":
                found = folder.names.setdefault(name, File())
                found.flushed = set(found.names) if isinstance(found, Folder) else True  # type: ignore[assignment]
            case "rename":
                assert to is not None
                target, new = self._place(to)
                target.names[new] = folder.names.pop(name)
                folder.flushed.discard(name)
                target.flushed.discard(new)

    def torn(self, folder: Folder | None = None, at: str = "") -> Iterator[str]:
        """Files with a final name whose content, or whose folder's names, a loss of power may take."""
        folder = folder or self.top
        for name, found in folder.names.items():
            if name.startswith(".") or name.endswith((".lock", ".db", ".db-wal", ".db-shm", "-journal")):
                continue  # temporary, or SQLite's, which flushes its own
            if isinstance(found, File) and not found.flushed:
                yield f"{at}/{name}"
            elif isinstance(found, Folder):
                yield from self.torn(found, f"{at}/{name}")

    def keeps(self, path: Path) -> bool:
        """Whether the file and each folder above it survive for certain."""
        folder = self.top
        *parents, last = path.relative_to(self.root).parts
        for part in parents:
            if part not in folder.flushed:
                return False
            folder = folder.names[part]  # type: ignore[assignment]
        found = folder.names.get(last)
        return last in folder.flushed and isinstance(found, File) and found.flushed


@pytest.mark.parametrize(
    "script", [CHECKPOINTS, DOCUMENTS, slow(FINAL_WEIGHTS)], ids=["checkpoints", "documents", "final weights"]
)
def test_what_has_a_name_is_whole_and_what_is_promised_stays(tmp_path: Path, script: str) -> None:
    library = compiled("recorded_writes", tmp_path)
    root = tmp_path / "disk"
    root.mkdir()
    recorded = tmp_path / "calls"
    with recorded.open("wb") as calls:
        done = subprocess.run(
            [sys.executable, "-c", PREAMBLE + script, str(root)], pass_fds=[calls.fileno()], timeout=120,
            env=os.environ | {"LD_PRELOAD": str(library), "CALLS": str(calls.fileno())},
            capture_output=True, text=True, check=False,
        )  # fmt: skip
    assert done.returncode == 0, done.stderr
    disk, promised = Disk(root), 0
    for line in recorded.read_text().splitlines():
        call, *paths = line.split(" ")
        if not all(Path(path).is_relative_to(root) for path in paths):
            continue
        if call == "promise":
            promised += 1
            assert disk.keeps(Path(paths[0])), f"{paths[0]} may be lost although it was said to be there"
        else:
            disk.apply(call, *map(Path, paths))
            assert not list(disk.torn()), f"after {line}"
    assert promised
