"""`regatta init my_job.py`: writes a small working job, or a script, for the user to edit."""

from __future__ import annotations

import sys
from importlib.resources import files
from pathlib import Path

from orchestrator.errors import UsageError

CLASS_NAME = "MyJob"
"""The class in the template: `regatta compare <path>:MyJob`."""

# A job file's folder is on the job's import path, so a file of one of these names would shadow the package.
TAKEN_NAMES = frozenset({"jobs", "workers", "orchestrator", "keras", "tensorflow", "numpy", "ray", "pydantic"})


def write_job(path: Path, template: str = "my_job.py") -> None:
    """Write the template (`my_job.py` or `my_script.py`) to `path`, with its name in the commands of the docstring.

    Raises:
        UsageError: `path` does not end in .py, would shadow a module, exists, or cannot be written.
    """
    if path.suffix != ".py":
        raise UsageError(f"{path} does not end in .py: name a Python file, such as my_job.py")
    if path.stem in TAKEN_NAMES | sys.stdlib_module_names:
        raise UsageError(f"{path.name} would be imported instead of the module {path.stem}: choose another name")
    text = files("orchestrator").joinpath("templates", f"{template}.txt").read_text(encoding="utf-8")
    try:
        with path.open("x", encoding="utf-8") as file:  # "x" fails if the file exists, without a race
            file.write(text.replace(template, path.name))
    except FileExistsError:
        raise UsageError(f"{path} exists already and was not changed: choose another name") from None
    except FileNotFoundError:
        raise UsageError(f"the folder {path.parent} does not exist: create it first, or choose another") from None
    except OSError as error:
        raise UsageError(f"{path} cannot be written: {error.strerror}") from None
