"""The probe: short real runs of a job on this machine, with one and two workers, which predictions start from.

A folder holds them, `probe.json` with what they were, and later the predictions; a probe of the same job, params, code
and machine that is younger than a day is used again.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orchestrator.doctor.environment import environment
from orchestrator.errors import UsageError
from orchestrator.foresight.measured import Measured, has_enough, measured
from orchestrator.results import RunResult
from orchestrator.runs.execution import Execution, Schedule
from orchestrator.runs.planned import Planned
from orchestrator.runs.watcher import Watcher
from orchestrator.spec import secrets, trust
from orchestrator.spec.job_description import tell
from orchestrator.spec.run import RunSpec
from orchestrator.store.directory import LOGS, RESULT, SPEC, new_id, to_json
from orchestrator.store.documents import read_text
from orchestrator.store.folders import RUNS
from orchestrator.store.locks import claim_directory
from workers.files import write_atomically
from workers.modes.registry import MODES, fewest_workers, traits

PROBE = "probe.json"
_DAY = 86_400.0
_SCOUT_UPDATES = 12
"""Updates of the first run of each kind, which only shows how fast it is."""
_TRAINING_SHARE = 0.4
"""Share of the time asked for that training may take; starting processes and evaluating take the rest."""
_TURNS = "abcde"
"""Names of the runs of one kind; the first ones of a busy machine are slow, so that a run planned by them is short."""
_SOONEST, _MOST_UPDATES = 0.5, 200_000
_MORE = 4
"""Factor on the updates of a run that held too few step times, as calls of many short steps do."""
_MOST_CODE = 500
"""Files whose contents identify a job's code."""


@dataclass(frozen=True)
class Probe:
    """The runs of a probe."""

    path: Path
    runs: Mapping[str, Measured]
    """By kind: the mode's name and what is special about it, such as `sync 2`."""
    reused: bool
    """Whether they were trained earlier."""
    seconds: float
    """What the command that trained them took for them."""


def probe_specs(spec: RunSpec, modes: Sequence[str]) -> dict[str, RunSpec]:
    """The runs of a probe by kind: each of `modes` with one worker and with two, or the fewest that it works with.

    One process is measured with the samples per update of one worker and of two. Modes that share memory share a run of
    one worker, whose steps are the same in all of them. With a target, a further run of two workers estimates the
    gradient noise scale, which costs time that the others must not have.
    """
    found: dict[str, dict[str, Any]] = {}
    shared = False
    for mode in modes:
        row, fewest = traits(mode), fewest_workers(mode)
        if row.alone:
            found[mode] = {"mode": mode}
            found[f"{mode} x2"] = {"mode": mode, "batch_size": 2 * spec.batch_size}
            continue
        if not row.lockstep and fewest == 1 and not (shared and row.shares_memory):
            found[f"{mode} 1"] = {"mode": mode, "workers": 1}
            shared |= row.shares_memory
        found[f"{mode} {max(2, fewest)}"] = {"mode": mode, "workers": max(2, fewest)}
        if spec.target is not None and row.waits_for == "workers":  # it compares norms before and after averaging
            found[f"{mode} 2 noise"] = {"mode": mode, "workers": 2, "gradient_noise": True}
    fields = spec.model_dump() | {"target": None, "global_batch_size": None, "min_workers": None, "balance": False}
    fields |= {
        "earlier_fits": (),
        "out": None,
        "run_id": None,
        "mlflow": None,
        "wandb": None,
        "timeout": None,
        "checkpoints": None,
        "address": None,
    }
    fields |= {"backend": "local", "monitor": True, "sample_seconds": 0.2, "files_apart": True, "epochs": None}
    if spec.samples is not None:
        fields["eval_every"] = spec.eval_every or max(1, spec.samples // 20)  # as often as the real run is evaluated
    return {kind: type(spec).make(fields | own | {"variant": kind, "samples": 1}) for kind, own in found.items()}


def probe(
    spec: RunSpec, modes: Sequence[str], minutes: float, watcher: Watcher | None, *, fresh: bool = False
) -> Probe:
    """Measure the job of `spec`, or find a probe of it that is younger than a day, unless it has to be `fresh`.

    Raises:
        UsageError: a run of the probe trained too little to be measured. Other errors as for `orchestrator.api.run`.
    """
    key = probe_key(spec, modes, minutes)
    path = None if fresh else _find(key)
    if path is not None:
        return _load(path, reused=True)
    begun = time.monotonic()
    secrets.values(spec.env_secrets)  # raises before anything is started if one is missing
    trust.remember(spec)
    specs = probe_specs(spec, modes)
    path = claim_directory(Path(spec.out) if spec.out else RUNS / new_id(f"{Path(spec.job).stem}-advise"))
    each = 60 * minutes * _TRAINING_SHARE / len(specs)
    first = [_planned(run, path, "scout", _SCOUT_UPDATES) for run in specs.values()]
    kept: dict[str, str] = {}
    execution = Execution(None, watcher)
    execution.run(first, _schedule(specs, path, each, kept), _earlier_fits(spec, path, execution))
    document = {"schema": 1, "key": key, "runs": kept, "seconds": time.monotonic() - begun, "time": time.time()}
    write_atomically(path / PROBE, to_json(document))
    return _load(path, reused=False)


def _earlier_fits(spec: RunSpec, path: Path, execution: Execution) -> Sequence[bytes]:
    """What a script's fits before the judged one leave behind: trained once, for all runs of the probe."""
    if not spec.earlier_fits:
        return ()
    tell.get()(
        f"the {len(spec.earlier_fits)} earlier calls of fit are trained once, by one process, for all runs of the probe"
    )
    mode = next(name for name, row in MODES.items() if row.alone)
    alone = {"mode": mode, "workers": 1, "backend": "local", "address": None}
    own = (
        spec.model_dump() | alone | {"global_batch_size": None, "min_workers": None, "balance": False, "timeout": None}
    )
    return execution.train_earlier_fits(Planned(type(spec).make(own), path / "probes" / "earlier", "earlier"))


def _schedule(specs: Mapping[str, RunSpec], path: Path, seconds: float, kept: dict[str, str]) -> Schedule:
    """First a scout of each kind, then a run of about `seconds`, and longer ones while that was much too short."""
    paces = {}
    for kind, spec in specs.items():
        result = yield _planned(spec, path, "scout", _SCOUT_UPDATES)
        paces[kind] = _pace(result, kind)
    for kind, spec in specs.items():
        pace, fewest = paces[kind], 2 * _SCOUT_UPDATES
        for turn in _TURNS:
            updates = min(_MOST_UPDATES, max(fewest, int(seconds / pace)))
            planned = _planned(spec, path, turn, updates)
            result = yield planned
            pace, kept[kind] = _pace(result, kind), planned.run_id
            enough = has_enough(planned.path)
            fewest = updates + 1 if enough else _MORE * updates
            lasted = (result.seconds.elapsed or seconds) >= _SOONEST * seconds
            if (lasted and enough) or updates == _MOST_UPDATES:
                break
        if not enough:
            raise UsageError(
                f"The probe of {kind} took {result.steps} steps and holds too few step times, so that nothing can be "
                f"predicted. If a callback ends training early, as EarlyStopping does, leave it out for advise; "
                f"otherwise raise --minutes. Its log is in {planned.path / LOGS}."
            )


def _planned(spec: RunSpec, path: Path, turn: str, updates: int) -> Planned:
    samples = updates * spec.samples_per_update
    changes = {"samples": samples} | ({} if spec.eval_every else {"eval_every": max(1, samples // 20)})
    run_id = f"{spec.label}-{turn}"
    return Planned(spec.model_copy(update=changes), path / "probes" / run_id, run_id)


def _pace(result: RunResult, kind: str) -> float:
    """Seconds per update. Raises UsageError if the run did not train."""
    if result.status != "succeeded" or not result.steps or not result.seconds.elapsed:
        raise UsageError(f"The probe of {kind} ended early ({result.stop_reason}), so that nothing can be predicted.")
    return result.seconds.elapsed / result.steps


def _load(path: Path, *, reused: bool) -> Probe:
    document = _document(path)
    runs = {kind: measured(path / "probes" / name) for kind, name in document["runs"].items()}
    return Probe(path, runs, reused, float(document["seconds"]))


def _find(key: str) -> Path | None:
    """The folder of the latest probe with this key, if it is young enough and its runs are complete."""
    found = []
    for file in RUNS.glob(f"*/{PROBE}"):
        document = _document(file.parent)
        names = [file.parent / "probes" / name for name in document.get("runs", {}).values()]
        complete = names and all((name / RESULT).is_file() and (name / SPEC).is_file() for name in names)
        if document.get("key") == key and complete and time.time() - float(document.get("time", 0)) < _DAY:
            found.append((float(document["time"]), file.parent))
    return max(found)[1] if found else None


def _document(path: Path) -> dict[str, Any]:
    try:
        document = json.loads(read_text(path / PROBE))
    except (OSError, ValueError, RecursionError):
        return {}
    names = document.get("runs") if isinstance(document, dict) else None
    if not isinstance(names, dict) or not all(isinstance(n, str) and Path(n).name == n for n in names.values()):
        return {}
    return dict(document)


def probe_key(spec: RunSpec, modes: Sequence[str], minutes: float) -> str:
    """What a probe depends on, hashed: job, params and every other field of its runs, the code, and the machine."""
    runs = {kind: run.resolved() for kind, run in probe_specs(spec, modes).items()}
    return _hash({"made_by": code_and_machine(spec), "minutes": minutes, "runs": runs})


def code_and_machine(spec: RunSpec) -> str:
    """A hash of the code that trains the job of `spec`, and of this machine and installation."""
    facts = environment(Path(spec.directory))
    facts.pop("commit")
    return _hash({"machine": facts, "code": code_hash(spec)})


def _hash(document: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(document, sort_keys=True, default=str).encode()).hexdigest()


def code_hash(spec: RunSpec) -> str:
    """A hash of the Python files in the folder of the job's file, and of Regatta's own."""
    reference = Path(spec.directory, spec.job.partition(":")[0])
    folders = [Path(__file__).parents[2] / package for package in ("workers", "jobs")]
    digest = hashlib.sha256()
    for file in (*_sources(reference), *(f for folder in folders for f in sorted(folder.rglob("*.py")))):
        digest.update(file.name.encode())
        try:
            digest.update(file.read_bytes())
        except OSError:
            digest.update(os.urandom(8))  # unreadable: measure again
    return digest.hexdigest()


def _sources(reference: Path) -> Sequence[Path]:
    if not reference.is_file():
        return ()
    beside: Iterator[Path] = (file for file in sorted(reference.parent.glob("*.py")) if file != reference)
    return (reference, *(file for _, file in zip(range(_MOST_CODE), beside, strict=False)))
