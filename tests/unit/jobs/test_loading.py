"""Resolving job references and `--set` values to job classes and params, without TensorFlow."""

import pickle
import re
import subprocess
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import BaseModel

from jobs.api import Job
from jobs.catalog import CATALOG
from jobs.digits import Digits
from jobs.loading import JobNotFound, ParamsError, load_job_class, validate_params
from jobs.resnet import ResNet

pytestmark = pytest.mark.unit

ONE_JOB = """
from jobs.api import Job

class Mine(Job):
    def build_model(self):
        raise KeyError("from the job")
"""


@pytest.fixture(autouse=True)
def clean_imports(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Forget what a test imported from its own folder, so that the next test does not find it."""
    monkeypatch.setattr(sys, "path", sys.path.copy())
    before = set(sys.modules)
    yield
    for name in set(sys.modules) - before:
        del sys.modules[name]


@pytest.mark.parametrize("name", CATALOG)
def test_every_built_in_job_loads_and_sets_defaults_for_spec_fields_only(name: str) -> None:
    job_class = load_job_class(name, ".")
    assert issubclass(job_class, Job)
    assert set(job_class.defaults) <= {"batch_size", "samples", "target", "devices_per_replica"}
    assert {"batch_size", "samples"} <= set(job_class.defaults)
    target = job_class.defaults.get("target", "val_loss<=1")
    assert re.fullmatch(r"val_\w+(>=|<=)[\d.]+", target)
    assert validate_params(job_class, {}) == job_class.Params()


def test_importing_jobs_imports_nothing_heavy() -> None:
    modules = [entry.class_path.partition(":")[0] for entry in CATALOG.values()] + [
        "jobs.loading",
        "jobs.catalog",
    ]
    heavy = {"tensorflow", "keras", "numpy", "pyarrow", "plotly", "ray", "h5py"}
    code = f"import sys, {', '.join(modules)}; print(sorted({heavy!r} & set(sys.modules)))"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == "[]"


def test_file_with_and_without_a_class_name(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    file = tmp_path / "sub" / "my-job.py"
    file.write_text(ONE_JOB)
    assert load_job_class("sub/my-job.py:Mine", str(tmp_path)).__name__ == "Mine"
    assert load_job_class("sub/my-job.py", str(tmp_path)).__name__ == "Mine"
    assert load_job_class(str(file), "/nowhere").__name__ == "Mine"


def test_traceback_shows_the_users_file_and_line(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(ONE_JOB)
    job = load_job_class("mine.py", str(tmp_path))()
    with pytest.raises(KeyError) as caught:
        job.build_model()
    frame = traceback.extract_tb(caught.value.__traceback__)[-1]
    assert (frame.filename, frame.lineno) == (str(tmp_path / "mine.py"), 6)
    assert frame.line == 'raise KeyError("from the job")'


def test_a_file_imports_modules_beside_it_and_cannot_shadow_our_packages(tmp_path: Path) -> None:
    (tmp_path / "layers_of_mine.py").write_text("WIDTH = 7")
    (tmp_path / "jobs").mkdir()
    (tmp_path / "jobs" / "__init__.py").write_text("raise AssertionError('the wrong jobs package')")
    (tmp_path / "mine.py").write_text(f"from layers_of_mine import WIDTH\n{ONE_JOB}")
    job_class = load_job_class("mine.py", str(tmp_path))
    assert sys.modules[job_class.__module__].WIDTH == 7
    assert issubclass(job_class, Job)
    assert load_job_class("digits", str(tmp_path)) is Digits


def test_a_module_is_searched_in_the_directory(tmp_path: Path) -> None:
    package = tmp_path / "pack_of_mine"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "training.py").write_text(ONE_JOB)
    assert load_job_class("pack_of_mine.training:Mine", str(tmp_path)).__name__ == "Mine"


@pytest.mark.parametrize(
    ("job", "said"),
    [
        ("digit", "did you mean 'digits'?"),
        ("digit", "path/file.py:Class or module:Class"),
        ("mnist_cnn", "'mnist-cnn'"),
        ("mine.pyx", "not a built-in job"),
        ("mime.py", "no file {here}/mime.py (did you mean 'mine.py'?)"),
        ("mine.py:Mime", "no class 'Mime' (did you mean 'Mine'?)"),
        ("mine.py:Job2", "Jobs in it: Mine"),
        ("two.py", "several jobs (A, B)"),
        ("none.py", "no subclass of jobs.api.Job"),
        ("none.py:value", "'value' is not a subclass"),
        ("no_such_module:Mine", "no module 'no_such_module' in the installed packages and {here}"),
        ("no_such.module:Mine", "no module 'no_such'"),
        ("json:dumps", "'dumps' is not a subclass"),
    ],
)
def test_a_job_that_is_not_found_is_explained(tmp_path: Path, job: str, said: str) -> None:
    (tmp_path / "mine.py").write_text(ONE_JOB)
    (tmp_path / "two.py").write_text("from jobs.api import Job\nclass A(Job): ...\nclass B(Job): ...\n")
    (tmp_path / "none.py").write_text("from jobs.api import Job\nvalue = 3\n")
    with pytest.raises(JobNotFound, match=re.escape(said.format(here=tmp_path))):
        load_job_class(job, str(tmp_path))


@pytest.mark.parametrize("job", ["not_importable.py", "not_importable:Mine"])
def test_the_users_own_import_error_passes_through(tmp_path: Path, job: str) -> None:
    (tmp_path / "not_importable.py").write_text("import no_such_library")
    with pytest.raises(ModuleNotFoundError, match="no_such_library"):
        load_job_class(job, str(tmp_path))


class Lenient(Job):
    class Params(BaseModel):  # forgot extra="forbid"
        name: str = "x"
        layers: list[int] = [1]
        rate: float | None = 0.1
        flag: bool = False


@pytest.mark.parametrize(
    ("given", "field", "got"),
    [
        ({"rate": "1e-3"}, "rate", 0.001),
        ({"rate": 1}, "rate", 1.0),
        ({"rate": "none"}, "rate", None),
        ({"rate": None}, "rate", None),
        ({"flag": "true"}, "flag", True),
        ({"layers": "[64, 32]"}, "layers", [64, 32]),
        ({"layers": [64, "32"]}, "layers", [64, 32]),
        ({"name": 2024}, "name", "2024"),
        ({"name": "2024"}, "name", "2024"),
    ],
)
def test_strings_and_yaml_scalars_are_converted_to_the_declared_type(
    given: dict[str, object], field: str, got: object
) -> None:
    assert getattr(validate_params(Lenient, given), field) == got


@pytest.mark.parametrize(
    ("job_class", "given", "field", "said"),
    [
        (Digits, {"hiden": 3}, "hiden", "(did you mean 'hidden'?). It takes: hidden, learning_rate"),
        (Lenient, {"layer": 3}, "layer", "(did you mean 'layers'?)"),
        (Digits, {"hidden": "many"}, "hidden", "'many' is not allowed: Input should be a valid integer"),
        (Digits, {"hidden": 0}, "hidden", "0 is not allowed: Input should be greater than 0"),
        (Digits, {"hidden": 0, "learning_rate": "x"}, "hidden", "; learning_rate: 'x'"),
        (Lenient, {"layers": "[1, a]"}, "layers", "'[1, a]' is not allowed"),
        (Lenient, {"layers": [1, "a"]}, "layers.1", "valid integer"),
        (ResNet, {"arch": "ResNet5"}, "arch", "(did you mean ResNet50?)"),
        (ResNet, {"data": "/no/such/folder"}, "data", "there is no file or folder /no/such/folder"),
    ],
)
def test_a_rejected_param_is_named_with_what_is_allowed(
    job_class: type[Job], given: dict[str, object], field: str, said: str
) -> None:
    with pytest.raises(ParamsError, match=re.escape(said)) as caught:
        validate_params(job_class, given)
    assert caught.value.field == field
    assert str(caught.value).startswith(f"{field}: ")
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)


def test_required_params_open_params_and_params_that_are_not_a_model() -> None:
    class Required(Job):
        class Params(Job.Params):
            rate: float

    class Open(Job):
        class Params(BaseModel, extra="allow"):
            pass

    class Wrong(Job):
        Params = dict  # type: ignore[assignment]

    with pytest.raises(ParamsError, match=r"^rate: is missing$"):
        validate_params(Required, {})
    assert validate_params(Open, {"anything": 1}).model_extra == {"anything": 1}
    with pytest.raises(ParamsError, match="pydantic BaseModel"):
        validate_params(Wrong, {})


def test_paths_become_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "pictures").mkdir()
    monkeypatch.chdir(tmp_path)
    assert validate_params(ResNet, {"data": "pictures"}).model_dump()["data"] == str(tmp_path / "pictures")
