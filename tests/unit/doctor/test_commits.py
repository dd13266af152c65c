"""The commit of a folder: what is read, and that nothing of the repository's is run."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from orchestrator.doctor.commits import commit

pytestmark = pytest.mark.unit

Git = Callable[..., str]


@pytest.fixture
def git(tmp_path: Path) -> Git:
    """git in a new repository that holds one commit of `job.py`."""

    def run(*arguments: str) -> str:
        who = ("-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false")
        done = subprocess.run(["git", *who, *arguments], cwd=tmp_path, capture_output=True, text=True, check=True)
        return done.stdout.strip()

    run("init", "-q")
    (tmp_path / "job.py").write_text("1")
    (tmp_path / "link").symlink_to("job.py")
    run("add", ".")
    run("commit", "-q", "-m", "x")
    return run


def test_no_repository(tmp_path: Path) -> None:
    assert commit(tmp_path) is None
    assert commit(tmp_path / "nowhere") is None


def test_whether_files_differ_from_it(tmp_path: Path, git: Git) -> None:
    head = git("rev-parse", "HEAD")
    assert commit(tmp_path) == head
    os.utime(tmp_path / "job.py", (1, 1))
    (tmp_path / "new.txt").touch()
    assert commit(tmp_path) == head, "touched, and the same; another file is not tracked"
    (tmp_path / "job.py").write_text("2")
    assert commit(tmp_path) == f"{head}+"
    git("add", "job.py")
    assert commit(tmp_path) == f"{head}+", "staged"
    git("commit", "-q", "-m", "y")
    assert commit(tmp_path) == git("rev-parse", "HEAD")
    (tmp_path / "link").unlink()
    assert commit(tmp_path) == f"{git('rev-parse', 'HEAD')}+"


def test_packed_and_in_a_work_tree(tmp_path: Path, git: Git) -> None:
    head = git("rev-parse", "HEAD")
    git("gc", "-q")
    git("pack-refs", "--all")
    assert commit(tmp_path) == head
    git("worktree", "add", "-q", str(tmp_path / "beside"))
    assert commit(tmp_path / "beside") == head


def test_a_package_installed_inside_of_another_repository(tmp_path: Path, git: Git) -> None:
    (tmp_path / "venv").mkdir()
    (tmp_path / "venv" / "environment.py").touch()
    assert commit(tmp_path / "venv", "environment.py") is None
    assert commit(tmp_path, "job.py") == git("rev-parse", "HEAD")


def test_nothing_that_a_repository_configures_is_run(tmp_path: Path, git: Git) -> None:
    ran = tmp_path / "ran"
    program = tmp_path / "program"
    program.write_text(f"#!/bin/sh\necho x >> {ran}\ncat\n")
    program.chmod(0o755)
    (tmp_path / ".gitattributes").write_text("* filter=evil diff=evil\n")
    git("add", ".gitattributes", "program")
    git("commit", "-q", "-m", "y")
    for key in ("filter.evil.clean", "filter.evil.smudge", "filter.evil.process", "core.fsmonitor", "core.sshCommand",
                "diff.evil.textconv", "core.pager", "core.editor", "credential.helper"):  # fmt: skip
        git("config", key, str(program))
    hooks = tmp_path / ".git" / "hooks"
    hooks.mkdir(exist_ok=True)
    for hook in ("post-index-change", "pre-commit", "post-checkout", "reference-transaction"):
        (hooks / hook).symlink_to(program)
    head = (tmp_path / ".git" / "refs" / "heads" / git("branch", "--show-current")).read_text().strip()
    (tmp_path / "job.py").write_text("2")
    os.utime(tmp_path / "program", (1, 1))
    ran.unlink(missing_ok=True)
    assert commit(tmp_path) == f"{head}+"
    assert not ran.exists()
    subprocess.run(["git", "status"], cwd=tmp_path, capture_output=True, check=False)
    assert ran.exists(), "git itself would have run it"


@pytest.mark.parametrize("name", ["HEAD", "index", "config"])
@pytest.mark.parametrize(
    "content", [b"", b"\xff" * 100, b"ref: refs/heads/../../../../etc/passwd\n", b"DIRC" + b"\xff" * 40]
)
def test_a_damaged_repository_is_none(tmp_path: Path, git: Git, name: str, content: bytes) -> None:
    (tmp_path / ".git" / name).write_bytes(content)
    found = commit(tmp_path)
    assert found is None or len(found.rstrip("+")) == 40
