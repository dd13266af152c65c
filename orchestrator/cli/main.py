"""The command line: parses, calls, prints. Python code can do the same through `orchestrator.api`."""

from __future__ import annotations

import errno
import io
import os
import sys
from contextlib import suppress
from pathlib import Path
from typing import Annotated

import typer

from orchestrator.cli import (
    export,
    foresight,
    kuberay,
    logs,
    serve,
    serve_config,
    show,
    submit,
    sweep,
    train,
    warm,
    watch,
)
from orchestrator.cli.terminal import paragraph, say
from orchestrator.errors import JobError, RegattaError
from orchestrator.spec.job_description import tell
from orchestrator.spec.run import RunSpec


def build(kind: type[RunSpec] = RunSpec) -> typer.Typer:
    """Build the application; its flags are the fields of `kind`."""
    app = typer.Typer(
        name="regatta",
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback()(_options)
    for commands in (
        train,
        sweep,
        foresight,
        show,
        watch,
        logs,
        export,
        serve,
        serve_config,
        submit,
        kuberay,
        warm,
    ):
        commands.register(app, kind)
    return app


def _show_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        say(f"regatta {version('regatta')}")
        raise typer.Exit


def _options(
    version: Annotated[bool, typer.Option("--version", callback=_show_version, help="Print the version.")] = False,
) -> None:
    """Train a Keras model synchronously and asynchronously on Ray, and find out which mode wins."""


def main() -> None:
    """Entry point: an error becomes one paragraph and an exit code, never a bare traceback."""
    try:
        Path.cwd()
    except FileNotFoundError:
        say("regatta: the working directory has been deleted. Change to another one.", err=True)
        sys.exit(2)
    tell.set(lambda text: say(f"regatta: {paragraph(text)}", err=True))
    try:
        code = build()(prog_name="regatta", standalone_mode=False)
    except RegattaError as error:
        if isinstance(error, JobError) and error.traceback:
            say(error.traceback, err=True)
        say(f"regatta: {paragraph(error.message)}", err=True)
        from orchestrator.cluster.connection import leave

        leave(error.exit_code)
    except OSError as error:  # from a path not validated earlier: too long, for example, or not readable
        if error.errno == errno.EPIPE:  # stdout was closed by its reader, such as `head`
            with suppress(OSError):
                os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            sys.exit(1)
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EIO):
            where = error.filename or "the output"
            say(f"regatta: {where} cannot be written: {error.strerror}. Free some space, or write elsewhere.", err=True)
            sys.exit(4)
        if error.errno == errno.EAGAIN:
            say("regatta: this user may not start more processes or threads here: see `ulimit -u`.", err=True)
            sys.exit(4)
        if error.filename is None:
            say(f"regatta: {paragraph(str(error))}. `regatta doctor` looks at this machine.", err=True)
            sys.exit(4)
        say(f"regatta: {paragraph(f'{error.filename}: {error.strerror}. Use another path or fix it.')}", err=True)
        sys.exit(2)
    except Exception as error:
        if not hasattr(error, "show"):
            raise
        explained = io.StringIO()  # Click's error, which repeats the user's input unescaped; `say` escapes it
        error.show(explained)
        say(explained.getvalue(), err=True, nl=False)
        sys.exit(2)
    sys.exit(code if isinstance(code, int) else 0)


if __name__ == "__main__":
    main()
