"""The token of a Ray cluster that we start: created once, readable by its owner only, and never replaced."""

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
    """Path of the token file, which does not exist yet; the environment holds no token."""
    for name in ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"):
        monkeypatch.setenv(name, "")  # so that monkeypatch undoes what the test sets
        monkeypatch.delenv(name)
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path / ".ray" / "auth_token"


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077])
def test_a_new_token_is_readable_by_its_owner_only(file: Path, umask: int, capfd: pytest.CaptureFixture[str]) -> None:
    before = os.umask(umask)
    try:
        require_token()
    finally:
        os.umask(before)
    assert (mode(file), mode(file.parent)) == (0o600, 0o700)
    assert len(file.read_text()) == 64
    assert os.environ["RAY_AUTH_MODE"] == "token"
    assert capfd.readouterr() == ("", "")


def test_an_existing_token_is_kept(file: Path) -> None:
    file.parent.mkdir()
    file.write_text("mine\n")
    require_token()
    assert file.read_text() == "mine\n"


def test_a_token_of_rays_that_all_users_can_read_is_restricted(file: Path) -> None:
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


def test_concurrent_commands_agree_on_one_token(file: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: require_token(), range(32)))
    assert [path.name for path in file.parent.iterdir()] == ["auth_token"]
    assert len(file.read_text()) == 64
    assert "RAY_AUTH_TOKEN" not in os.environ


@pytest.mark.parametrize("obstacle", ["empty file", "folder is a file", "dangling link"])
def test_a_token_that_cannot_be_stored_stays_in_the_environment(file: Path, obstacle: str, tmp_path: Path) -> None:
    if obstacle == "folder is a file":
        file.parent.write_text("")
    else:
        file.parent.mkdir()
        file.touch() if obstacle == "empty file" else file.symlink_to(tmp_path / "planted")
    require_token()
    assert len(os.environ["RAY_AUTH_TOKEN"]) == 64
    assert not (tmp_path / "planted").exists()


def test_a_named_file_without_a_token(file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(tmp_path / "none"))
    with pytest.raises(UsageError, match=r"RAY_AUTH_TOKEN_PATH names .*none, from which no token can be read"):
        require_token()
    assert not file.exists()


def test_with_a_token_in_the_variable_no_file_is_created(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_AUTH_TOKEN", "given")
    require_token()
    assert not file.exists()
