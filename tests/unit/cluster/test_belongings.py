"""Which files beside a job travel to a cluster, and that what does not is named."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from orchestrator.cluster import belongings as module
from orchestrator.cluster.belongings import belongings, told
from orchestrator.cluster.staging import stage
from orchestrator.errors import SpecError, UsageError
from orchestrator.spec.run import RunSpec
from tests.unit.cluster.test_staging import staged_files

pytestmark = pytest.mark.unit

Track = Callable[..., None]


@pytest.fixture
def track(tmp_path: Path) -> Track:
    """Put files under git, in a new repository around the folder `mine`."""
    subprocess.run(["git", "init", "-q"], cwd=tmp_path, check=True)

    def add(*names: str) -> None:
        subprocess.run(["git", "add", "-f", *names], cwd=tmp_path / "mine", check=True)

    return add


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    folder = tmp_path / "mine"
    for name in ("train.py", "data.csv", "images/a.png", "images/deep/b.png", ".env", "venv/x.py", "notes.txt"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name)
    (tmp_path / "above.csv").touch()
    return folder


def sent(folder: Path, *patterns: str) -> tuple[set[str], str]:
    found = belongings(folder, patterns, [folder / "train.py"])
    return {path.relative_to(folder).as_posix() for path in found.files}, told(folder, found) or ""


def test_without_git_nothing_but_code_travels_and_what_stays_is_named(mine: Path) -> None:
    files, note = sent(mine)
    assert files == set()
    assert "data.csv (no git checkout here), images/ (no git checkout here), notes.txt" in note
    assert "--include PATTERN" in note
    assert ".env" not in note
    assert "venv" not in note


@pytest.mark.parametrize(
    ("patterns", "files"),
    [
        (["data.csv"], {"data.csv"}),
        (["*.csv", "*.txt"], {"data.csv", "notes.txt"}),
        (["images"], {"images/a.png", "images/deep/b.png"}),
        (["images/*.png"], {"images/a.png"}),
        (["**/*.png"], {"images/a.png", "images/deep/b.png"}),
        ([".env"], {".env"}),
        (["train.py"], set()),
    ],
)
def test_patterns(mine: Path, patterns: list[str], files: set[str]) -> None:
    assert sent(mine, *patterns)[0] == files


def test_what_git_tracks_travels_as_it_is_here(mine: Path, track: Track) -> None:
    (mine / "gone.csv").touch()
    (mine / ".gitignore").write_text("*.csv")
    track("data.csv", "images", "gone.csv", ".gitignore", "../above.csv")
    (mine / "gone.csv").unlink()
    (mine / "data.csv").write_text("changed since")
    files, note = sent(mine)
    assert files == {"data.csv", "images/a.png", "images/deep/b.png"}
    assert "gone.csv (missing)" in note
    assert "notes.txt (not tracked by git)" in note
    assert sent(mine, "notes.txt")[0] == {*files, "notes.txt"}


def test_links_that_lead_out_of_the_folder_stay(mine: Path, track: Track) -> None:
    (mine / "near.csv").symlink_to("data.csv")
    (mine / "out.csv").symlink_to("../above.csv")
    track("near.csv", "out.csv")
    files, note = sent(mine)
    assert files == {"near.csv"}
    assert "out.csv (a link that leads out of the folder)" in note
    assert sent(mine, "out.csv")[0] == {"near.csv", "out.csv"}, "named by the user"


def test_the_largest_of_what_git_tracks_stays_and_too_much_by_name_is_refused(
    mine: Path, track: Track, monkeypatch: pytest.MonkeyPatch
) -> None:
    (mine / "big.bin").write_bytes(b"x" * 900)
    track("data.csv", "big.bin")
    monkeypatch.setattr(module, "MAX_BYTES", 500)
    files, note = sent(mine)
    assert files == {"data.csv"}
    assert "big.bin (0.0 MB, over" in note
    with pytest.raises(UsageError, match=r"include: big\.bin and the code .* where every host can read"):
        sent(mine, "big.bin")


def test_a_pattern_without_a_match_names_the_nearest(mine: Path) -> None:
    with pytest.raises(UsageError, match=r"include: 'dta\.csv' matches no file in .*did you mean data\.csv\?"):
        sent(mine, "dta.csv")
    with pytest.raises(UsageError, match="patterns are relative to that folder"):
        sent(mine, "zzz/*")


@pytest.mark.parametrize("pattern", ["../above.csv", "/etc/passwd", "", "a/../../b", "a\nb"])
def test_patterns_stay_inside_of_the_folder(pattern: str) -> None:
    with pytest.raises(SpecError, match=r"include.*inside of the job's folder"):
        RunSpec.make({"job": "train.py", "include": [pattern]})


def test_what_is_selected_is_staged_beside_the_code(mine: Path, tmp_path: Path) -> None:
    note = stage(tmp_path / "out", "train.py", str(mine), ["data.csv", "images"])
    assert staged_files(tmp_path / "out") == {"train.py", "data.csv", "images/a.png", "images/deep/b.png"}
    assert note is not None
    assert "notes.txt" in note
    with pytest.raises(UsageError, match="digits is built in or installed"):
        stage(tmp_path / "other", "digits", str(mine), ["data.csv"])
