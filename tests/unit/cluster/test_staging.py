"""Which of the user's files are sent to other hosts, and which copy those use."""

from __future__ import annotations

from pathlib import Path

import pytest

from jobs import staged
from orchestrator.cluster import staging
from orchestrator.cluster.staging import stage
from orchestrator.errors import UsageError

pytestmark = pytest.mark.unit


@pytest.fixture
def code(tmp_path: Path) -> Path:
    """A user's folder: a job, a module and a package beside it, and files that are not sent."""
    folder = tmp_path / "mine"
    for name, text in {
        "job.py": "class A: pass",
        "near.py": "x = 1",
        "parts/__init__.py": "",
        "parts/deep/net.py": "y = 2",
        "data.csv": "1,2",
        ".venv/lib/huge.py": "z = 3",
        "notes/draft.py": "no package",
    }.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder


def staged_files(folder: Path) -> set[str]:
    mine = folder / staged.FOLDER
    return {path.relative_to(mine).as_posix() for path in mine.rglob("*") if path.is_file()}


@pytest.mark.parametrize(
    ("target", "directory"), [("job.py:A", "."), ("mine/job.py", ".."), ("near:x", "."), ("parts.deep:x", ".")]
)
def test_a_job_is_sent_with_the_modules_beside_it(code: Path, tmp_path: Path, target: str, directory: str) -> None:
    stage(tmp_path / "out", target, str(code / directory))
    assert staged_files(tmp_path / "out") == {"job.py", "near.py", "parts/__init__.py", "parts/deep/net.py"}
    assert {"orchestrator", "workers", "jobs"} < {path.name for path in (tmp_path / "out").iterdir()}


@pytest.mark.parametrize("target", ["digits", "installed.somewhere:Job"])
def test_jobs_without_a_file_here_send_no_user_code(code: Path, tmp_path: Path, target: str) -> None:
    stage(tmp_path / "out", target, str(code))
    assert staged_files(tmp_path / "out") == set()


def test_a_one_file_job_is_small(tmp_path: Path) -> None:
    (tmp_path / "only").mkdir()
    (tmp_path / "only" / "job.py").write_text("class A: pass")
    stage(tmp_path / "out", "job.py", str(tmp_path / "only"))
    assert sum(path.stat().st_size for path in (tmp_path / "out").rglob("*")) < 3 << 20  # Regatta: 2.1 MB
    assert not list((tmp_path / "out").rglob("__pycache__"))
    stage(tmp_path / "driver", "job.py", str(tmp_path / "only"), for_driver=True)
    assert {path.name for path in (tmp_path / "driver").rglob("*.js")} == {
        "report.js",
        "live.js",
        "plotly-basic.min.js",
    }


def test_too_much_code_is_refused(code: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(staging, "MAX_USER_BYTES", 10)
    with pytest.raises(UsageError, match="a folder of their own"):
        stage(tmp_path / "out", "job.py", str(code))


def test_a_host_with_the_same_files_uses_its_own(code: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stage(tmp_path / "out", "job.py", str(code))
    monkeypatch.setattr(staged, "STAGED", tmp_path / "out" / staged.FOLDER)
    assert staged.on_this_host(code) == code
    assert staged.home_of("mine/job.py", str(code.parent)) == code.parent
    (code / "near.py").write_text("x = 'older'")
    assert staged.on_this_host(code) == staged.STAGED
    assert staged.on_this_host(tmp_path / "nowhere") == staged.STAGED
    assert staged.home_of("mine/job.py", str(code.parent)) == staged.STAGED
    text = f'File "{staged.STAGED}/near.py", line 1'
    assert staged.as_written(text, "job.py:A", str(code)) == f'File "{code}/near.py", line 1'


def test_a_host_with_other_data_uses_what_was_sent(code: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stage(tmp_path / "out", "job.py", str(code), ["data.csv"])
    monkeypatch.setattr(staged, "STAGED", tmp_path / "out" / staged.FOLDER)
    assert staged.on_this_host(code) == code
    (code / "data.csv").write_text("3,4")
    assert staged.on_this_host(code) == staged.STAGED


def test_without_anything_staged_the_users_folder_is_used(tmp_path: Path) -> None:
    assert staged.on_this_host(tmp_path) == tmp_path
