"""The command line: what bad input gets, what goes to which stream, exit codes, and how soon it answers."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from jobs.catalog import CATALOG
from orchestrator import api
from orchestrator.cli import main as command_line
from orchestrator.errors import ClusterError, Interrupted, JobError, RegattaError, ResourcesError, UsageError
from orchestrator.spec import resolve
from orchestrator.spec.resolve import JobDescription
from orchestrator.spec.run import RunSpec
from workers.modes.registry import MODES


class Said(NamedTuple):
    code: int
    out: str
    err: str


Command = Callable[..., Said]


@pytest.fixture
def no_child(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every job there is, without loading it in a child process."""
    found = JobDescription("digits", "", {}, {}, {})
    monkeypatch.setattr(resolve, "describe_job", lambda *_, **__: found)


@pytest.fixture
def regatta(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    """The command in this process, in an empty folder: as `cli`, without starting an interpreter."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setattr(signal, "signal", lambda *_: None)  # pytest's own handlers stay

    def call(*arguments: str | Path) -> Said:
        monkeypatch.setattr(sys, "argv", ["regatta", *map(str, arguments)])
        try:
            command_line.main()
            code = 0
        except SystemExit as end:
            code = int(end.code or 0)
        return Said(code, *capsys.readouterr())

    return call


def assert_refused(said: Said, *words: str) -> None:
    """One paragraph that names field, value and what is allowed; nothing else; exit 2."""
    assert said.code == 2, said
    assert said.out == ""
    lines = [line for line in said.err.splitlines() if line != "starting"]
    assert len(lines) == 1, said.err
    assert lines[0].startswith("regatta: ")
    for word in words:
        assert word in lines[0]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["digit"], ["job", "'digit'", "did you mean 'digits'?", "Built-in jobs: digits, linear"]),
        (["none.py:Mine"], ["job", "none.py:Mine", "no file"]),
        (["no_such:Mine"], ["job", "no_such"]),
        (["none.yaml"], ["no spec file none.yaml"]),
        ([""], ["job"]),
        (["digits", "--mode", "async", "--ps", "0"], ["ps", "0", "async", "1 or more"]),
        (["digits", "--mode", "sycn"], ["mode", "'sycn'", "'sync' or 'async'"]),
        (["digits", "--workers", "0"], ["workers", "0", "greater than or equal to 1"]),
        (["digits", "--workers", "5000"], ["workers", "5000", "less than or equal to 1024"]),
        (["digits", "--gpus-per-worker", "-1"], ["gpus_per_worker", "-1"]),
        (["digits", "--batch-size", "0"], ["batch_size", "0"]),
        (["digits", "--samples", "1" + "0" * 400], ["samples", "1000", "9007199254740992"]),
        (["digits", "--epochs", "inf"], ["epochs", "inf"]),
        (["digits", "--epochs", "nan"], ["epochs", "nan"]),
        (["digits", "--samples", "5", "--epochs", "2"], ["epochs", "2", "samples 5", "one of them"]),
        (["digits", "--target", "accuracy"], ["target", "'accuracy'", "val_accuracy>=0.95"]),
        (["digits", "--target", "a>=1e999"], ["target", "'a>=1e999'"]),
        (["digits", "--set", "hiden=64"], ["params.hiden", "did you mean 'hidden'?", "hidden, learning_rate"]),
        (["digits", "--set", "hidden=many"], ["params.hidden", "'many'", "valid integer"]),
        (["digits", "--set", "hidden"], ["--set", "'hidden'", "name=value"]),
    ],
)
def test_bad_input(regatta: Command, arguments: list[str], words: list[str]) -> None:
    assert_refused(regatta("plan", *arguments), *words)


@pytest.mark.parametrize(
    ("yaml", "words"),
    [
        ("job: digits\nworker: 4", ["worker", "did you mean 'workers'?"]),
        ("job: !!python/object/apply:os.system ['touch pwned']", ["tags are not allowed", "line 1, column 6"]),
        ("job: digits\nworkers: 1\nworkers: 2", ["'workers' is given twice"]),
        ("job: digits\nparams: {a: &a 1, b: *a}", ["aliases are not allowed"]),
        ("job: digits\nparams: " + "[" * 500, ["nested too deeply"]),
        ("job: digits\nparams: {hidden: " + "x" * 200_000 + "}", ["params.hidden"]),
        ("- digits", ["fields and their values"]),
        ("", ["fields and their values"]),
        ("job: digits\n\0", ["special characters"]),
        ('job: "dig\\0its"', ["job", "control characters"]),
        ("job: digits\nrun_id: ../../up", ["run_id", "'../../up'", "letters, digits"]),
        ("job: digits\nrun_id: /etc/cron.d/x", ["run_id", "letters, digits"]),
        ('job: digits\nrun_id: "a\\e[2J"', ["run_id", r"\x1b", "letters, digits"]),
        ("job: digits\nrun_id: 5", ["run_id", "5", "valid string"]),
        ('job: digits\nout: "a\\0b"', ["out", "control characters"]),
        ("job: digits\nseeds: 3", ["seeds", "regatta compare"]),
    ],
    ids=lambda value: value[:20] if isinstance(value, str) else "",
)
def test_bad_files(regatta: Command, tmp_path: Path, yaml: str, words: list[str]) -> None:
    (tmp_path / "spec.yaml").write_text(yaml)
    said = regatta("plan", "spec.yaml")
    assert_refused(said, *words)
    assert "\x1b" not in said.err
    assert [path.name for path in tmp_path.iterdir()] == ["spec.yaml"]


@pytest.mark.parametrize(
    "run_id", ["../up", "a/b", "/abs", "..", ".hidden", "-x", "a b", "a\x1b[2J", "a\nb", "", "x" * 101]
)
def test_hostile_run_ids(regatta: Command, tmp_path: Path, run_id: str) -> None:
    assert_refused(regatta("run", "digits", f"--run-id={run_id}"), "run_id", repr(run_id)[:60], "letters, digits")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--seeds", "0"], ["seeds", "'0'", "at least one seed"]),
        (["--seeds", "-1,"], ["seeds", "none negative"]),
        (["--seeds", "five"], ["seeds", "'five'", "0,1,2"]),
        (["--seeds", "1000000000000"], ["seeds", "1 to 1000"]),
        (["--seeds", "1,1"], ["seeds", "twice"]),
        (["--modes", "sync,sycn"], ["mode", "'sycn'", "'sync' or 'async'"]),
        (["--modes", "sync,sync"], ["modes", "twice"]),
        (["--ps", "0"], ["ps", "0", "async"]),
    ],
)
def test_bad_comparisons(regatta: Command, tmp_path: Path, arguments: list[str], words: list[str]) -> None:
    assert_refused(regatta("compare", "digits", *arguments), *words)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("out", "words"),
    [
        ("file/run", ["out", "file/run", "cannot be written to", "permissions"]),
        ("/proc/regatta", ["out", "/proc/regatta", "cannot be written to"]),
        ("file", ["out", "file", "is taken", "not a folder"]),
        ("full", ["out", "run_id", "full", "not empty"]),
    ],
)
@pytest.mark.usefixtures("no_child")
def test_folders_that_cannot_be_used(regatta: Command, tmp_path: Path, out: str, words: list[str]) -> None:
    (tmp_path / "file").write_text("mine")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "precious").write_text("mine")
    assert_refused(regatta("run", "digits", "--out", out), *words)
    assert_refused(regatta("compare", "digits", "--out", out), *words)
    assert (tmp_path / "full" / "precious").read_text() == "mine"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "full"]


def test_a_taken_folder_is_told_before_a_script_is_run(
    regatta: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resolve, "describe_job", lambda *_, **__: pytest.fail("the script was run"))
    (tmp_path / "train.py").write_text("import keras\nmodel.fit(1)")
    (tmp_path / "runs" / "second").mkdir(parents=True)
    (tmp_path / "runs" / "second" / "result.json").write_text("mine")
    for command in ("run", "compare"):
        assert_refused(regatta(command, "train.py", "--run-id", "second"), "run_id", "runs/second is taken")


def test_flags_that_do_not_exist_or_do_not_parse(regatta: Command) -> None:
    for arguments, word in [
        (["plan", "digits", "--worker", "2"], "--worker"),
        (["plan", "digits", "--workers", "many"], "--workers"),
        (["plan"], "JOB"),
        (["plan", "digits", "--epochs", "x"], "--epochs"),
        (["sail"], "sail"),
    ]:
        said = regatta(*arguments)
        assert said.code == 2
        assert said.out == ""
        assert word in said.err
        assert "Usage: regatta" in said.err
        assert "Traceback" not in said.err


def test_a_users_module_that_fails_shows_their_traceback(regatta: Command, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("import no_such_library\n")
    said = regatta("plan", "mine.py")
    assert said.code == 3
    assert said.out == ""
    assert 'mine.py", line 1' in said.err
    assert said.err.count("ModuleNotFoundError") == 2  # the traceback's last line, and ours
    assert "importlib" not in said.err


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (UsageError("no"), 2),
        (ResourcesError("no"), 2),
        (JobError("no", "Traceback of theirs"), 3),
        (ClusterError("no"), 4),
        (Interrupted("no"), 130),
        (RegattaError("no"), 4),
        (KeyboardInterrupt(), 130),
    ],
)
@pytest.mark.usefixtures("no_child")
def test_exit_codes(regatta: Command, monkeypatch: pytest.MonkeyPatch, error: BaseException, code: int) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(api, "run", fail)
    for arguments in (["run", "digits"], ["run", "digits", "--json"], ["run", "digits", "-q"]):
        said = regatta(*arguments)
        assert said.code == code
        assert said.out == ""
        assert said.err.splitlines()[-1].startswith("regatta: ")
        assert said.err.count("Traceback") == isinstance(error, JobError)


@pytest.mark.parametrize("arguments", [["plan", "digits", "--mode", "async"], ["jobs"], ["runs"]])
def test_json_is_one_document_on_stdout(regatta: Command, arguments: list[str]) -> None:
    said = regatta(*arguments, "--json")
    assert said.code == 0
    json.loads(said.out)
    assert said.err == ""
    assert len(said.out.splitlines()) == 1


def test_the_plan_for_programs_and_for_people(regatta: Command, tmp_path: Path) -> None:
    document = json.loads(regatta("plan", "digits", "--mode", "async", "--workers", "2", "--json").out)
    assert {"mode", "tasks", "budget"} <= set(document)
    assert [(task["type"], task["index"]) for task in document["tasks"]] == [
        ("chief", 0), ("ps", 0), ("worker", 0), ("worker", 1), ("evaluator", 0),
    ]  # fmt: skip
    shown = regatta("plan", "digits", "--mode", "async", "--workers", "2").out
    assert "the cluster needs 5 CPUs and 0 GPUs free at the same time" in shown
    assert json.dumps(document["tasks"][0]["tf_config"]) in shown.splitlines()
    assert "budget 64,000 samples = 2,000 steps of 32, or until val_accuracy>=0.95" in shown
    assert list(tmp_path.iterdir()) == []


def test_jobs_are_all_listed_one_a_line(regatta: Command) -> None:
    said = regatta("jobs")
    assert [line.split()[0] for line in said.out.splitlines()] == list(CATALOG)
    assert [job["name"] for job in json.loads(regatta("jobs", "--json").out)] == list(CATALOG)


def test_modes_are_listed_with_a_name_to_copy(regatta: Command) -> None:
    listed = json.loads(regatta("modes", "--json").out)
    assert [row["name"] for row in listed] == list(MODES)
    for row, line in zip(listed, regatta("modes").out.splitlines()[1:], strict=True):
        assert line.startswith(row["example"])
        assert row["summary"]
        assert row["equals"]
        assert RunSpec.make({"job": "digits", "mode": row["example"]}).mode == row["example"]


def test_markup_in_names_is_shown_as_it_is(regatta: Command, tmp_path: Path) -> None:
    folder = tmp_path / "runs" / "[red]a[bold] :smile:"
    folder.mkdir(parents=True)
    (folder / "spec.yaml").write_text("job: digits")
    assert "[red]a[bold] :smile:" in regatta("runs").out
    assert "No runs in" in regatta("runs", "nowhere").out


def test_the_version_and_completion(regatta: Command, cli: Callable[..., subprocess.CompletedProcess[str]]) -> None:
    assert regatta("--version").out == "regatta 0.1.0\n"
    completed = cli(_REGATTA_COMPLETE="complete_bash", COMP_WORDS="regatta ru", COMP_CWORD="1").stdout
    assert completed.split() == ["run", "runs"]


def test_the_schema_is_json_schema(regatta: Command) -> None:
    schema = json.loads(regatta("schema").out)
    assert {"job", "workers", "modes", "seeds"} <= set(schema["properties"])
    assert schema["required"] == ["job"]


def test_every_command_has_help(regatta: Command) -> None:
    listed = regatta("--help").out
    registered = [command for command in command_line.build().registered_commands if command.callback]
    commands = [command.name or str(command.callback.__name__).replace("_", "-") for command in registered]
    assert {"compare", "run", "plan", "jobs", "runs", "report", "init", "doctor", "schema"} <= set(commands)
    for name in commands:
        assert f" {name} " in listed
        for flag in ("--help", "-h"):
            said = regatta(name, flag)
            assert said.code == 0
            assert f"Usage: regatta {name}" in said.out


@pytest.mark.parametrize("arguments", [["--help"], ["plan", "digits"], ["jobs"]], ids=" ".join)
def test_it_answers_at_once(
    cli: Callable[..., subprocess.CompletedProcess[str]], arguments: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """In processor seconds, its child's included; busy cores share their caches, and take up to half as long again."""
    monkeypatch.delenv("PYTHONDONTWRITEBYTECODE", raising=False)
    assert cli(*arguments).returncode == 0
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert cli(*arguments).returncode == 0
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert (after.ru_utime + after.ru_stime) - (before.ru_utime + before.ru_stime) < 2.5


def test_a_reader_that_has_seen_enough(tmp_path: Path) -> None:
    """`regatta jobs | head -0`: no traceback."""
    command = [sys.executable, "-P", "-c", "from orchestrator.cli.main import main; main()", "jobs"]
    read, write = os.pipe()
    os.close(read)
    with os.fdopen(write) as closed:
        done = subprocess.run(command, stdout=closed, stderr=subprocess.PIPE, text=True, cwd=tmp_path, check=False)
    assert "Traceback" not in done.stderr


def test_interrupted_while_the_job_is_loaded(tmp_path: Path) -> None:
    (tmp_path / "slow.py").write_text("import pathlib, time; pathlib.Path('loading').touch(); time.sleep(60)")
    command = [sys.executable, "-P", "-c", "from orchestrator.cli.main import main; main()", "run", "slow.py"]
    with subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True, start_new_session=True) as process:
        deadline = time.monotonic() + 30
        while not (tmp_path / "loading").exists() and time.monotonic() < deadline:
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)  # to the driver alone: what it started is its own to end
        _, err = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "Traceback" not in err
    with pytest.raises(ProcessLookupError):
        os.killpg(process.pid, 0)
