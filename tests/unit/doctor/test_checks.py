"""The checks of `doctor`: each state of a machine gives the right status, and a remedy if there is one."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest

from orchestrator.doctor import checks, folder_checks, machine
from orchestrator.doctor.check import GIB, Status
from orchestrator.doctor.machine import ChildAnswer, Cores, Memory, Ports
from workers.telemetry.listeners import Listener

pytestmark = pytest.mark.unit

REPOSITORY = Path(__file__).parents[3]


def imported(gpus: int = 0) -> ChildAnswer:
    return ChildAnswer({"gpus": gpus, "seconds": 4.2}, "")


def nvml(state: str = "ok", detail: str = "", devices: int = 0) -> ChildAnswer:
    device = {"uuid": "GPU-1", "name": "NVIDIA H100", "memory_total_bytes": 80 * GIB, "error": None}
    answer = {"state": state, "detail": detail, "driver": "580.82", "devices": [device] * devices}
    return ChildAnswer(answer, "")


BROKEN = ChildAnswer(None, "ImportError: libtensorflow_cc.so.2: cannot open shared object file")
HANGING = ChildAnswer(None, "no answer within 30 s")


def test_the_tested_releases_are_those_that_pyproject_allows() -> None:
    dependencies = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]["dependencies"]
    for name, series in checks.TESTED.items():
        major, minor = series.split(".")
        assert f"{name}>={series},<{major}.{int(minor) + 1}" in dependencies


@pytest.mark.parametrize(("version", "status"), [("3.10.12", "fail"), ("3.11.7", "ok"), ("3.13.0", "ok")])
def test_python(version: str, status: str) -> None:
    assert checks.python(version).status == status


@pytest.mark.parametrize(
    ("version", "answer", "status", "detail"),
    [
        ("2.21.0", imported(), "ok", "2.21.0, imports in 4.2 s"),
        ("2.22.1", imported(), "warn", "2.22.1; Regatta is tested with 2.21, imports in 4.2 s"),
        ("2.21.0", BROKEN, "fail", "2.21.0 cannot be imported: ImportError"),
        (None, BROKEN, "fail", "not installed"),
    ],
)
def test_tensorflow(version: str | None, answer: ChildAnswer, status: str, detail: str) -> None:
    check = checks.tensorflow(version, answer)
    assert (check.status, check.detail.startswith(detail)) == (status, True)
    assert bool(check.remedy) == (status != "ok")


@pytest.mark.parametrize(
    ("report", "answer", "status", "words"),
    [
        (
            nvml("no_library", "NVML library not found"),
            imported(),
            "ok",
            "not available (NVML library not found)",
        ),
        (nvml("no_driver", "NVIDIA driver not loaded"), imported(), "ok", "not available"),
        (nvml(), imported(), "ok", "NVML lists none"),
        (nvml(devices=2), imported(gpus=2), "ok", "NVIDIA H100 80 GiB, NVIDIA H100 80 GiB; driver 580.82"),
        (nvml(devices=2), imported(gpus=0), "warn", "TensorFlow can use 0 of 2"),
        (nvml(devices=1), BROKEN, "ok", "NVIDIA H100"),
        (nvml("no_binding", "nvidia-ml-py cannot be imported"), imported(), "warn", "cannot be monitored"),
        (nvml("no_library", "NVML library not found"), imported(gpus=1), "warn", "cannot be monitored"),
        (nvml("no_permission", "no permission"), imported(), "warn", "no permission"),
        (nvml("error", "GPU 0: GPU is lost", devices=1), imported(), "warn", "GPU is lost"),
        (HANGING, imported(), "warn", "no answer within 30 s"),
    ],
)
def test_gpu(report: ChildAnswer, answer: ChildAnswer, status: str, words: str) -> None:
    check = checks.gpu(report, answer)
    assert check.status == status
    assert words in check.detail
    assert bool(check.remedy) == (status != "ok")


@pytest.mark.parametrize(
    ("found", "status", "detail"),
    [
        (Cores(16, 16, None), "ok", "16 usable of 16"),
        (Cores(64, 64, 4.0), "ok", "4 usable of 64 (CPU quota 4)"),
        (Cores(8, 1, None), "warn", "1 usable of 8"),
        (Cores(8, 8, 0.5), "warn", "1 usable of 8 (CPU quota 0.5)"),
    ],
)
def test_cores(found: Cores, status: str, detail: str) -> None:
    check = checks.cores(found)
    assert (check.status, check.detail) == (status, detail)


@pytest.mark.parametrize(
    ("found", "status"),
    [
        (Memory(16 * GIB, 8 * GIB), "ok"),
        (Memory(16 * GIB, 3 * GIB), "warn"),
        (Memory(16 * GIB, GIB // 2), "fail"),
        (None, "warn"),
    ],
)
def test_memory(found: Memory | None, status: str) -> None:
    assert checks.memory(found).status == status


@pytest.mark.parametrize(
    ("found", "status"),
    [
        (Ports(15000, 32768, 64, 60), "ok"),
        (Ports(15000, 32768, 64, 20), "warn"),
        (Ports(15000, 32768, 64, 0), "fail"),
        (Ports(15000, 1024, 0, 0), "warn"),
    ],
)
def test_ports(found: Ports, status: str) -> None:
    assert checks.ports(found).status == status


class TestToken:
    @pytest.fixture
    def file(self, tmp_path: Path) -> Path:
        file = tmp_path / ".ray" / "auth_token"
        file.parent.mkdir()
        file.write_text("secret-token\n")
        file.chmod(0o600)
        return file

    def test_in_the_home_folder(self, tmp_path: Path, file: Path) -> None:
        assert checks.token({}, tmp_path).status == Status.OK

    def test_readable_by_other_users(self, tmp_path: Path, file: Path) -> None:
        file.chmod(0o644)
        check = checks.token({}, tmp_path)
        assert (check.status, check.remedy) == (Status.WARN, f"chmod 600 {file}")
        assert "0644" in check.detail

    def test_empty(self, tmp_path: Path, file: Path) -> None:
        file.write_text("\n")
        assert checks.token({}, tmp_path).status == Status.FAIL

    def test_missing(self, tmp_path: Path) -> None:
        check = checks.token({}, tmp_path)
        assert check.status == Status.OK
        assert "--generate" in check.remedy

    def test_named_file_is_missing(self, tmp_path: Path, file: Path) -> None:
        check = checks.token({"RAY_AUTH_TOKEN_PATH": str(tmp_path / "no")}, tmp_path)
        assert check.status == Status.FAIL
        assert "No such file" in check.detail

    def test_variable_wins_and_is_never_shown(self, tmp_path: Path) -> None:
        check = checks.token({"RAY_AUTH_TOKEN": "hush", "RAY_AUTH_TOKEN_PATH": "/nowhere"}, tmp_path)
        assert check.status == Status.OK
        assert "hush" not in f"{check}"

    def test_switched_off(self, tmp_path: Path, file: Path) -> None:
        assert checks.token({"RAY_AUTH_MODE": "disabled"}, tmp_path).status == Status.WARN

    def test_text_of_the_token_is_never_shown(self, tmp_path: Path, file: Path) -> None:
        assert "secret" not in f"{checks.token({}, tmp_path)}"


def test_sockets() -> None:
    inner, outer = Listener("regatta task", 8, "127.0.0.1", 15001), Listener("raylet", 7, "::", 6379)
    assert checks.sockets(()).status == Status.OK
    assert checks.sockets((inner,)).status == Status.OK
    check = checks.sockets((inner, outer))
    assert check.status == Status.WARN
    assert check.detail.splitlines() == [
        "1 socket of Regatta, 1 of Ray; other hosts may reach 1 of them",
        "regatta task (8) 127.0.0.1:15001",
        "Ray: raylet 1",
    ]
    assert "firewall" in check.remedy
    assert "regatta serve" not in check.remedy
    check = checks.sockets((inner, Listener("regatta serve", 9, "0.0.0.0", 8501)))
    assert check.status == Status.WARN
    assert "regatta serve (9) 0.0.0.0:8501" in check.detail.splitlines()
    assert "--token-variable" in check.remedy


@pytest.mark.parametrize(
    ("free", "writable", "status"),
    [(50 * GIB, True, "ok"), (GIB, True, "warn"), (GIB // 8, True, "fail"), (50 * GIB, False, "fail")],
)
def test_disk(free: int, writable: bool, status: str) -> None:
    assert folder_checks.disk(Path("runs"), Path("/data"), free, writable).status == status


def test_shadowing(tmp_path: Path) -> None:
    (tmp_path / "workers").mkdir()
    (tmp_path / "jobs").mkdir()
    check = folder_checks.shadowing(tmp_path, REPOSITORY)
    assert check.status == Status.OK
    assert "workers/ and jobs/" in check.detail
    assert check.remedy
    assert not folder_checks.shadowing(REPOSITORY, REPOSITORY).remedy, "Regatta's own checkout has no remedy"


def test_diagnose_runs_every_check(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(machine, "import_tensorflow", imported)
    monkeypatch.setattr(machine, "gpu_report", lambda: nvml("no_library", "NVML library not found"))
    found: Any = checks.diagnose(tmp_path / "runs")
    names = [
        "Python",
        "TensorFlow",
        "Keras",
        "Ray",
        "GPU",
        "Cores",
        "Memory",
        "Ports",
        "Ray token",
        "Sockets",
        "Disk",
        "Limits",
        "Temporary",
        "Folder",
    ]
    assert [check.name for check in found] == names
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("processes", "files", "status", "words"),
    [
        (None, None, Status.OK, "any number of processes"),
        (4096, 1024, Status.OK, "4096 processes, 1024 open files"),
        (150, 1024, Status.WARN, "ulimit -u 1024"),
        (None, 64, Status.WARN, "ulimit -n 256"),
    ],
)
def test_limits(processes: int | None, files: int | None, status: Status, words: str) -> None:
    found = checks.limits(machine.Limits(processes, files))
    assert found.status is status
    assert words in f"{found.detail} {found.remedy}"


def test_the_folder_for_sockets() -> None:
    assert folder_checks.own_folder("/tmp", None).status is Status.OK
    assert "too long for sockets" in folder_checks.own_folder("/scratch/batch/1234567/tmp/node", None).detail
    assert folder_checks.own_folder("/tmp", "it is not yours").status is Status.FAIL
