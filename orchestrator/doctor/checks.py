"""The checks of `regatta doctor`: what this machine has, how well that suits a run, and the remedy.

Each check is a pure function of facts that `machine` collects; `diagnose` runs them all. `ok` with a remedy is
a hint; `warn` means that runs work, but slower or less safely; `fail` means that they do not work.
"""

from __future__ import annotations

import os
import platform
import stat
import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from orchestrator.doctor import folder_checks, machine
from orchestrator.doctor.check import GIB, Check, Status
from orchestrator.doctor.environment import version as installed
from orchestrator.text import plural
from workers.telemetry.listeners import OURS, SERVE, Listener, listeners

TESTED = {"tensorflow": "2.21", "keras": "3.15", "ray": "2.60"}
"""Release series that pyproject.toml allows; a test keeps the two equal."""

MEMORY_FOR_A_RUN = 4 * GIB
"""`regatta compare digits` needs about five TensorFlow processes of 0.5-0.7 GiB, and Ray."""

FEWEST_PROCESSES, FEWEST_FILES = 1024, 256


def diagnose(runs: Path = Path("runs")) -> tuple[Check, ...]:
    """Run all checks, in the order in which a run depends on them. Takes as long as importing TensorFlow once.

    `runs` is the folder where runs will be written. Two child processes are started, but neither Ray nor a server.
    """
    with ThreadPoolExecutor() as pool:
        imported = pool.submit(machine.import_tensorflow)
        gpus = pool.submit(machine.gpu_report)
        return (
            python(platform.python_version()),
            tensorflow(installed("tensorflow"), imported.result()),
            _version("Keras", "keras", installed("keras")),
            _version("Ray", "ray", installed("ray")),
            gpu(gpus.result(), imported.result()),
            cores(machine.cores()),
            memory(machine.memory()),
            ports(machine.ports()),
            token(os.environ, Path.home()),
            sockets(listeners()),
            folder_checks.disk(runs, *machine.disk_free(runs)),
            limits(machine.limits()),
            folder_checks.own_folder(tempfile.gettempdir(), machine.own_folder_problem()),
            folder_checks.shadowing(Path.cwd(), Path(__file__).parents[2]),
        )


def python(version: str) -> Check:
    major, minor = (int(part) for part in version.split(".")[:2])
    if (major, minor) < (3, 11):
        return Check("Python", Status.FAIL, version, "use Python 3.11 or newer")
    return Check("Python", Status.OK, version)


def _version(name: str, distribution: str, version: str | None) -> Check:
    series = TESTED[distribution]
    remedy = f"pip install '{distribution}=={series}.*'"
    if version is None:
        return Check(name, Status.FAIL, "not installed", remedy)
    if version.split(".")[:2] != series.split("."):
        return Check(name, Status.WARN, f"{version}; Regatta is tested with {series}", remedy)
    return Check(name, Status.OK, version)


def tensorflow(version: str | None, imported: machine.ChildAnswer) -> Check:
    check = _version("TensorFlow", "tensorflow", version)
    if version is None:
        return check
    if imported.answer is None:
        detail = f"{version} cannot be imported: {imported.problem}"
        return Check(
            check.name,
            Status.FAIL,
            detail,
            'run `python -P -c "import tensorflow, keras"` to see the whole error',
        )
    return Check(
        check.name,
        check.status,
        f"{check.detail}, imports in {imported.answer['seconds']:.1f} s",
        check.remedy,
    )


def gpu(nvml: machine.ChildAnswer, imported: machine.ChildAnswer) -> Check:
    """The GPUs that NVML lists, compared with those that TensorFlow can use."""
    name = "GPU"
    usable = 0 if imported.answer is None else imported.answer["gpus"]
    if nvml.answer is None:
        return Check(name, Status.WARN, f"NVML: {nvml.problem}", "run nvidia-smi; if it hangs too, restart the machine")
    state, detail, devices = (nvml.answer[key] for key in ("state", "detail", "devices"))
    if state in ("no_library", "no_driver") and not usable:
        return Check(name, Status.OK, f"not available ({detail}): runs will use the CPU")
    if state != "ok":
        remedy = {
            "no_binding": "pip install nvidia-ml-py",
            "no_permission": "give this user access to /dev/nvidia*",
        }.get(state, "run nvidia-smi, which names the fault")
        return Check(name, Status.WARN, f"{detail}: GPUs cannot be monitored", remedy)
    if not devices:
        return Check(name, Status.OK, "not available (NVML lists none): runs will use the CPU")
    listed = ", ".join(_description(device) for device in devices)
    if imported.answer is not None and usable < len(devices):
        detail = f"{listed}; TensorFlow can use {usable} of {len(devices)}"
        return Check(name, Status.WARN, detail, "pip install 'tensorflow[and-cuda]', and check CUDA_VISIBLE_DEVICES")
    return Check(name, Status.OK, f"{listed}; driver {nvml.answer['driver']}")


def _description(device: Mapping[str, object]) -> str:
    total = device["memory_total_bytes"]
    return f"{device['name'] or 'GPU'}" + (f" {total / GIB:.0f} GiB" if isinstance(total, int) else "")


def cores(found: machine.Cores) -> Check:
    detail = f"{found.usable} usable of {found.machine}"
    if found.quota:
        detail += f" (CPU quota {found.quota:g})"
    if found.usable < 2:
        remedy = "use --workers 1, or a machine with one core per replica: replicas on one core take turns"
        return Check("Cores", Status.WARN, detail, remedy)
    return Check("Cores", Status.OK, detail)


def memory(found: machine.Memory | None) -> Check:
    if found is None:
        return Check("Memory", Status.WARN, "not reported by the system", "make sure that 4 GiB are free")
    detail = f"{found.available / GIB:.1f} of {found.total / GIB:.1f} GiB available"
    if found.available < MEMORY_FOR_A_RUN / 4:
        return Check("Memory", Status.FAIL, detail, "close other programs: a replica needs about 0.7 GiB")
    if found.available < MEMORY_FOR_A_RUN:
        remedy = "use fewer --workers, or close other programs: a replica needs about 0.7 GiB"
        return Check("Memory", Status.WARN, detail, remedy)
    return Check("Memory", Status.OK, detail)


def ports(found: machine.Ports) -> Check:
    if not found.tried:
        detail = f"the ephemeral range starts at {found.high}: an outgoing connection may take any port"
        remedy = "sysctl net.ipv4.ip_local_port_range='32768 60999'"
        return Check("Ports", Status.WARN, detail, remedy)
    detail = f"{found.free} of {found.tried} ports tried between {found.low} and {found.high - 1} are free"
    remedy = "run `ss -ltnp` to see which processes use the others"
    if not found.free:
        return Check("Ports", Status.FAIL, detail, f"{remedy}; a sandbox may forbid listening")
    if found.free < found.tried / 2:
        return Check("Ports", Status.WARN, detail, remedy)
    return Check("Ports", Status.OK, detail)


def token(environ: Mapping[str, str], home: Path) -> Check:
    """Ray's token and its source: RAY_AUTH_TOKEN, the file that RAY_AUTH_TOKEN_PATH names, or `~/.ray/auth_token`."""
    name = "Ray token"
    if environ.get("RAY_AUTH_MODE", "token").lower() != "token":
        mode = f"RAY_AUTH_MODE={environ['RAY_AUTH_MODE']}"
        detail = f"off for `ray start` ({mode}): anyone who can reach its ports can run code as you"
        return Check(name, Status.WARN, detail, "unset RAY_AUTH_MODE")
    if environ.get("RAY_AUTH_TOKEN"):
        return Check(name, Status.OK, "on: from RAY_AUTH_TOKEN")
    named = environ.get("RAY_AUTH_TOKEN_PATH")
    path = Path(named) if named else home / ".ray" / "auth_token"
    generate = "ray get-auth-token --generate > /dev/null"
    try:
        permissions, empty = stat.S_IMODE(path.stat().st_mode), not path.read_text().strip()
    except OSError as error:
        if named or not isinstance(error, FileNotFoundError):
            return Check(name, Status.FAIL, f"{path}: {error.strerror}", f"put the token there, or run: {generate}")
        detail = "none yet: a local run creates one, but `ray start --head` without one starts a cluster open to anyone"
        return Check(name, Status.OK, detail, f"before `ray start` or `ray up`, run: {generate}")
    if empty:
        return Check(name, Status.FAIL, f"{path} is empty", f"rm {path} && {generate}")
    if permissions & 0o077:
        detail = f"on: {path}, which other users may access (mode {permissions:04o})"
        return Check(name, Status.WARN, detail, f"chmod 600 {path}")
    return Check(name, Status.OK, f"on: {path}")


def sockets(found: Sequence[Listener]) -> Check:
    """Sockets that listen now, Regatta's one a line, and whether other hosts can reach them."""
    if not found:
        return Check("Sockets", Status.OK, "no process of Ray or Regatta is listening")
    public = [listener for listener in found if listener.is_public]
    ours = [listener for listener in found if listener.process in (OURS, SERVE)]
    rays = Counter(listener.process for listener in found if listener not in ours)
    counts = (
        f"{plural(len(ours), 'socket')} of Regatta, {rays.total()} of Ray; other hosts may reach {len(public)} of them"
    )
    summary = ["Ray: " + ", ".join(f"{process} {count}" for process, count in sorted(rays.items()))] if rays else []
    detail = "\n".join([counts, *map(str, ours), *summary])
    if not public:
        return Check("Sockets", Status.OK, detail)
    remedy = (
        "let a firewall admit only the cluster's own hosts: Ray's ports require the token, but TensorFlow's ports "
        "between tasks require nothing (docs/security.md)"
    )
    if any(listener.process == SERVE for listener in public):
        remedy += (
            "; `regatta serve --host` answers other hosts without encryption: give it --token-variable, and put a "
            "proxy with TLS in front of it"
        )
    return Check("Sockets", Status.WARN, detail, remedy)


def limits(found: machine.Limits) -> Check:
    """Ray starts some 30 processes and 300 threads beside the tasks."""
    detail = f"{found.processes or 'any number of'} processes, {found.files or 'any number of'} open files"
    if found.processes is not None and found.processes < FEWEST_PROCESSES:
        remedy = f"`ulimit -u {FEWEST_PROCESSES}`, or ask for more: Ray and TensorFlow start hundreds of threads"
        return Check("Limits", Status.WARN, detail, remedy)
    if found.files is not None and found.files < FEWEST_FILES:
        return Check("Limits", Status.WARN, detail, f"`ulimit -n {FEWEST_FILES}`")
    return Check("Limits", Status.OK, detail)
