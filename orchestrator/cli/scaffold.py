"""`regatta init my_job.py`: a small job that works as it is, to be made one's own."""

from __future__ import annotations

import sys
from importlib.resources import files
from pathlib import Path

from orchestrator.errors import UsageError

CLASS_NAME = "MyJob"
"""The class in the template: `regatta compare <path>:MyJob`."""

# The folder of a job file is searched for the job's imports, so such a file would be imported in their place.
TAKEN_NAMES = frozenset({"jobs", "workers", "orchestrator", "keras", "tensorflow", "numpy", "ray", "pydantic"})


def write_job(path: Path) -> None:
    """Writes the template to `path`, a new `.py` file in a folder that exists.

    The file's docstring names the command that runs it. Raises UsageError; what is there stays as it was.
    """
    if path.suffix != ".py":
        raise UsageError(f"{path} does not end in .py: name a Python file, such as my_job.py")
    if path.stem in TAKEN_NAMES | sys.stdlib_module_names:
        raise UsageError(f"{path.name} would be imported instead of the module {path.stem}: choose another name")
    template = files("orchestrator").joinpath("templates", "my_job.py.txt").read_text(encoding="utf-8")
    try:
        with path.open("x", encoding="utf-8") as file:  # "x" fails where a file is, without a race
            file.write(template.replace("my_job.py", path.name))
    except FileExistsError:
        raise UsageError(f"{path} exists already and is left as it is: choose another name") from None
    except FileNotFoundError:
        raise UsageError(f"the folder {path.parent} does not exist: make it first, or write elsewhere") from None
    except OSError as error:
        raise UsageError(f"{path} cannot be written: {error.strerror}") from None
