"""`regatta kuberay`: prints the Kubernetes manifests of a run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from orchestrator.cli.flags import Job, Modes, Vary
from orchestrator.cli.grouped_help import GroupedCommand
from orchestrator.cli.remote_spec import AsComparison, AsRun, name_of, spec_of, with_remote_flags
from orchestrator.cli.values import parse_settings
from orchestrator.spec.run import RunSpec

Image = Annotated[str | None, typer.Option(help="Image that contains this project. Default: regatta:VERSION.")]
Claim = Annotated[str | None, typer.Option(help="PersistentVolumeClaim for the results. Default: the head pod.")]
Label = Annotated[list[str] | None, typer.Option(metavar="KEY=VALUE", help="Metadata of the RayJob; may be repeated.")]
File = Annotated[Path | None, typer.Option("--out", help="File to write. Default: standard output.")]


def register(app: typer.Typer, kind: type[RunSpec]) -> None:
    """Add the command to `app`."""

    def kuberay(
        job: Job,
        *,
        image: Image = None,
        claim: Claim = None,
        label: Label = None,
        out: File = None,
        as_run: AsRun = False,
        as_comparison: AsComparison = False,
        modes: Modes = None,
        vary: Vary = None,
        **given: Any,
    ) -> None:
        """Write a RayJob manifest, with the job's code, for the KubeRay operator."""
        import importlib.metadata

        import yaml

        from orchestrator.submit.kuberay import manifests
        from workers.files import write_atomically

        command, spec = spec_of(job, {**given, "modes": modes, "vary": vary}, as_run, as_comparison, kind)
        documents = manifests(
            command,
            spec,
            name_of(command, spec),
            image=image or f"regatta:{importlib.metadata.version('regatta')}",
            ray_version=importlib.metadata.version("ray"),
            claim=claim,
            metadata=parse_settings(label or (), "--label"),
        )
        text = yaml.safe_dump_all(documents, sort_keys=False)
        if out is None:
            typer.echo(text, nl=False)
        else:
            write_atomically(out, text)

    app.command(cls=GroupedCommand)(with_remote_flags(kuberay, kind))
