"""`python -m orchestrator.cli.on_head COMMAND RUN_ID`: what a submitted job runs on the cluster's head.

run | compare | sweep   runs the staged spec.yaml, with the flags that follow; results go below RUNS
transfer [FILE]         prints the run's directory, or one file of it, in the format of `orchestrator.submit.transfer`
page                    prints the run's page as of now, in the same format
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

from orchestrator.cli import main as cli
from orchestrator.errors import RegattaError
from orchestrator.spec import trust
from orchestrator.spec.run_id import is_run_id
from orchestrator.spec.yaml import read_mapping
from orchestrator.submit import transfer
from orchestrator.submit.jobs_api import SPEC
from orchestrator.submit.submitted_page import PAGE, VERSION
from orchestrator.view.next_step import SUBMISSION

RUNS = "regatta-runs"
"""Below the head's home directory, because Ray removes the job's own folder when the job ends."""


def main(command: str, run_id: str, *rest: str) -> None:
    if not is_run_id(run_id):
        sys.exit("regatta: that is not the name of a run.")
    folder = Path.home() / RUNS / run_id
    if command in ("transfer", "page"):
        try:
            transfer.send(transfer.pack(folder, *rest) if command == "transfer" else _page(folder))
        except RegattaError as error:
            sys.exit(f"regatta: {error.message}")
        return
    # The user has confirmed what the spec gives away, on the machine that it was submitted from.
    confirmed = trust.as_flags(read_mapping(Path(SPEC)) | {"address": None})
    given = ["--run-id", run_id, "--out", str(folder), "--address", "auto", *confirmed]
    os.environ[SUBMISSION] = run_id
    sys.argv = ["regatta", command, SPEC, *given, *rest]
    cli.main()


def _page(folder: Path) -> Iterator[str]:
    from orchestrator.view.web import LivePage

    version, page = LivePage(folder).current()
    return transfer.encode({PAGE: page, VERSION: version.encode()})


if __name__ == "__main__":
    main(*sys.argv[1:])
