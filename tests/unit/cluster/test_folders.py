"""Where Ray's files and a session's lie: short enough for unix sockets, and closed to others, whatever TMPDIR is."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest

from orchestrator.cluster import own_ray
from orchestrator.doctor import folder_checks, machine
from orchestrator.doctor.check import Status
from orchestrator.errors import UsageError
from workers.session import open_to_others, own_folder, session_directory

LONGEST_SOCKET = 107
RAYS_PART = 62
"""Characters that Ray adds to its folder."""


def temporary(monkeypatch: pytest.MonkeyPatch, base: Path, length: int) -> Path:
    """TMPDIR of `length` characters."""
    rest = length - len(str(base)) - 1
    assert rest > 0
    path = base / ("t" * rest)
    path.mkdir(exist_ok=True)
    monkeypatch.setenv("TMPDIR", str(path))
    monkeypatch.setattr(tempfile, "tempdir", None)
    return path


@pytest.fixture
def base() -> Path:
    return Path(tempfile.mkdtemp(prefix="b", dir="/tmp"))


@pytest.mark.parametrize("length", [18, 22, 26, 34, 45, 60, 90, 200])
def test_rays_sockets_fit_whatever_tmpdir_is(monkeypatch: pytest.MonkeyPatch, base: Path, length: int) -> None:
    monkeypatch.delenv("RAY_TMPDIR", raising=False)
    temporary(monkeypatch, base, length)
    folder = Path(own_ray.private_folder("12345-abcdef012345"))
    assert len(str(folder)) + RAYS_PART <= LONGEST_SOCKET
    assert folder.stat().st_uid == os.getuid()
    assert all(stat.S_IMODE(path.stat().st_mode) & 0o077 == 0 for path in (folder, folder.parent) if path.name != "tmp")


@pytest.mark.parametrize("length", [18, 45, 80, 200])
def test_a_session_has_a_short_folder(monkeypatch: pytest.MonkeyPatch, base: Path, length: int) -> None:
    temporary(monkeypatch, base, length)
    assert len(str(session_directory("12345-abcdef012345"))) < 95


@pytest.mark.parametrize("mode", [0o1777, 0o755, 0o750, None])
def test_ray_tmpdir_is_not_open_to_others(monkeypatch: pytest.MonkeyPatch, base: Path, mode: int | None) -> None:
    """Ray itself makes folders of mode 0777 below it."""
    kept = base / "k"
    if mode is not None:
        kept.mkdir()
        kept.chmod(mode)
    monkeypatch.setenv("RAY_TMPDIR", str(kept))
    before = os.umask(0)
    try:
        folder = Path(own_ray.private_folder("session"))
    finally:
        os.umask(before)
    assert folder.parent == kept
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert stat.S_IMODE(kept.stat().st_mode) == (mode or 0o700)


@pytest.mark.parametrize("mode", [0o777, 0o775, 0o722])
def test_a_ray_tmpdir_in_which_others_may_replace_files_is_refused(
    monkeypatch: pytest.MonkeyPatch, base: Path, mode: int
) -> None:
    base.chmod(mode)
    monkeypatch.setenv("RAY_TMPDIR", str(base))
    with pytest.raises(UsageError, match=r"^RAY_TMPDIR: other users may write in .* Run `chmod go-w"):
        own_ray.private_folder("session")
    assert not list(base.iterdir())
    assert machine.own_folder_problem() == f"RAY_TMPDIR: {open_to_others(base)}"


@pytest.mark.skipif(os.getuid() != 0, reason="files of another user can only be made by root")
def test_a_ray_tmpdir_of_another_user_is_refused(monkeypatch: pytest.MonkeyPatch, base: Path) -> None:
    os.chown(base, 1234, 1234)
    monkeypatch.setenv("RAY_TMPDIR", str(base))
    with pytest.raises(UsageError, match=r"belongs to another user \(id 1234\)"):
        own_ray.private_folder("session")


def test_a_ray_tmpdir_that_is_too_long_is_refused(monkeypatch: pytest.MonkeyPatch, base: Path) -> None:
    monkeypatch.setenv("RAY_TMPDIR", f"{base}/{'x' * 40}")
    with pytest.raises(UsageError, match=r"^RAY_TMPDIR: .* at most 35 characters"):
        own_ray.private_folder("session")


def squat_as_a_file(own: Path) -> None:
    own.write_text("")


def squat_as_a_link(own: Path) -> None:
    own.symlink_to("/tmp")


def squat_open_to_others(own: Path) -> None:
    own.mkdir()
    own.chmod(0o777)


def squat_as_another_user(own: Path) -> None:
    if os.getuid() != 0:
        pytest.skip("files of another user can only be made by root")
    own.mkdir(mode=0o700)
    os.chown(own, 1234, 1234)


@pytest.mark.parametrize("squat", [squat_as_a_file, squat_as_a_link, squat_open_to_others, squat_as_another_user])
def test_a_folder_that_is_taken_by_others_is_refused(
    monkeypatch: pytest.MonkeyPatch, base: Path, squat: Callable[[Path], None]
) -> None:
    monkeypatch.setenv("TMPDIR", str(base))
    monkeypatch.setattr(tempfile, "tempdir", None)
    squat(base / f"regatta-{os.getuid()}")
    with pytest.raises(OSError, match=r"only this user can read|File exists"):
        own_folder(70)
    found = folder_checks.own_folder(str(base), machine.own_folder_problem())
    assert (found.status, f"regatta-{os.getuid()}" in found.detail) == (Status.FAIL, True), "doctor says so as well"
    said = _regatta("run", "digits", "--backend", "local", "--out", str(base / "run"), TMPDIR=str(base))
    assert said.returncode in (2, 4)
    assert "Traceback" not in said.stderr
    assert f"regatta-{os.getuid()}" in said.stderr.splitlines()[-1]


def _regatta(*arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-P", "-m", "orchestrator.cli.main", *arguments],
        capture_output=True, text=True, check=False, env=os.environ | env, timeout=120,
    )  # fmt: skip


def test_a_deleted_working_directory_is_named(tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    code = "import os, sys; os.rmdir(os.getcwd()); from orchestrator.cli.main import main; main()"
    said = subprocess.run(
        [sys.executable, "-P", "-c", code, "plan", "digits"], cwd=gone, capture_output=True, text=True, check=False
    )
    assert said.returncode == 2
    assert said.stderr == "regatta: the working directory has been deleted. Change to another one.\n"


@pytest.mark.parametrize("arguments", [("plan", "digits"), ("jobs",), ("plan", "digits", "--address", "127.0.0.1:9")])
def test_a_user_without_a_home_gets_one_paragraph(arguments: tuple[str, ...]) -> None:
    if os.getuid() != 0:
        pytest.skip("a user without a home can only be played by root")
    code = "import os, pwd, sys; os.environ.pop('HOME', None)\n"
    code += "def none(*_): raise KeyError\npwd.getpwuid = none\nfrom orchestrator.cli.main import main\nmain()"
    environment = {name: value for name, value in os.environ.items() if name not in ("HOME", "XDG_CONFIG_HOME")}
    said = subprocess.run(
        [sys.executable, "-P", "-c", code, *arguments], capture_output=True, text=True, check=False, env=environment
    )
    assert said.returncode in (0, 2, 4), said.stderr
    assert "Traceback" not in said.stderr
    if said.returncode:
        assert said.stderr.count("\n") == 1
