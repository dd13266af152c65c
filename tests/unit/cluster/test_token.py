"""The token of a Ray that we start: made exclusively, for its owner alone, and only where there is none."""

from __future__ import annotations

import os
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from orchestrator.cluster.token import require_token
from orchestrator.errors import UsageError

# Not marked `unit`: it takes seconds, and the marked set has thirty.


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the token goes; nothing is there yet, and the environment says nothing."""
    for name in ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"):
        monkeypatch.setenv(name, "")  # so that what the test sets is taken back
        monkeypatch.delenv(name)
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path / ".ray" / "auth_token"


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077])
def test_a_new_token_is_its_owners_alone(file: Path, umask: int, capfd: pytest.CaptureFixture[str]) -> None:
    before = os.umask(umask)
    try:
        require_token()
    finally:
        os.umask(before)
    assert (mode(file), mode(file.parent)) == (0o600, 0o700)
    assert len(file.read_text()) == 64
    assert os.environ["RAY_AUTH_MODE"] == "token"
    assert capfd.readouterr() == ("", "")


def test_one_that_is_there_is_kept(file: Path) -> None:
    file.parent.mkdir()
    file.write_text("mine\n")
    require_token()
    assert file.read_text() == "mine\n"


def test_one_that_ray_made_for_everybody_to_read_is_closed(file: Path) -> None:
    file.parent.mkdir()
    file.write_text("open")
    file.chmod(0o644)
    require_token()
    assert mode(file) == 0o600


def test_a_link_is_left_as_it_is(file: Path, tmp_path: Path) -> None:
    target = tmp_path / "elsewhere"
    target.write_text("shared")
    target.chmod(0o644)
    file.parent.mkdir()
    file.symlink_to(target)
    require_token()
    assert mode(target) == 0o644


def test_of_many_who_make_one_at_once_all_have_the_same(file: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: require_token(), range(32)))
    assert [path.name for path in file.parent.iterdir()] == ["auth_token"]
    assert len(file.read_text()) == 64
    assert "RAY_AUTH_TOKEN" not in os.environ


@pytest.mark.parametrize("obstacle", ["empty file", "folder is a file", "dangling link"])
def test_without_a_place_for_it_the_processes_know_it_alone(file: Path, obstacle: str, tmp_path: Path) -> None:
    if obstacle == "folder is a file":
        file.parent.write_text("")
    else:
        file.parent.mkdir()
        file.touch() if obstacle == "empty file" else file.symlink_to(tmp_path / "planted")
    require_token()
    assert len(os.environ["RAY_AUTH_TOKEN"]) == 64
    assert not (tmp_path / "planted").exists()


def test_a_file_that_is_named_and_holds_none(file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(tmp_path / "none"))
    with pytest.raises(UsageError, match=r"RAY_AUTH_TOKEN_PATH names .*none, and there is no token in it"):
        require_token()
    assert not file.exists()


def test_the_variable_wins_and_no_file_is_made(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_AUTH_TOKEN", "given")
    require_token()
    assert not file.exists()
