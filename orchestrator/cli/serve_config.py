"""`regatta serve-config`: a model on a cluster that serves it after the command has ended."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from orchestrator.cli.grouped_help import GroupedCommand
from orchestrator.cli.serve import Name, Replicas, TokenVariable, check_name
from orchestrator.spec.run import RunSpec

Folder = Annotated[str, typer.Argument(metavar="FOLDER", help="Numbered versions, as the cluster's hosts see them.")]
Number = Annotated[int | None, typer.Option("--model-version", min=0, help="Default: the latest when it is deployed.")]
Host = Annotated[str, typer.Option(help="Address that Ray Serve's proxy listens on.")]
Port = Annotated[int, typer.Option(min=1, max=65535, help="Port of the REST interface.")]
Service = Annotated[str | None, typer.Option(metavar="NAME", help="Write a RayService of this name for KubeRay.")]
Image = Annotated[str | None, typer.Option(help="Image for --service. Default: regatta:VERSION.")]
Claim = Annotated[str | None, typer.Option(help="PersistentVolumeClaim for --service that is mounted at FOLDER.")]
File = Annotated[Path | None, typer.Option("--out", help="File to write. Default: standard output.")]


def serve_config(
    folder: Folder,
    *,
    name: Name = "default",
    replicas: Replicas = 1,
    model_version: Number = None,
    token_variable: TokenVariable = None,
    host: Host = "127.0.0.1",
    port: Port = 8000,
    service: Service = None,
    image: Image = None,
    claim: Claim = None,
    out: File = None,
) -> None:
    """Write a Serve config file for `serve deploy`, or a RayService for KubeRay."""
    import importlib.metadata

    import yaml

    from orchestrator.submit import rayservice
    from workers.files import write_atomically

    check_name(name)
    deployed = rayservice.Deployed(folder, name, replicas, model_version, token_variable)
    if service is None:
        document = rayservice.serve_config(deployed, host=host, port=port)
    else:
        document = rayservice.ray_service(
            deployed,
            service,
            image=image or f"regatta:{importlib.metadata.version('regatta')}",
            ray_version=importlib.metadata.version("ray"),
            claim=claim,
        )
    text = yaml.safe_dump(document, sort_keys=False)
    if out is None:
        typer.echo(text, nl=False)
    else:
        write_atomically(out, text)


def register(app: typer.Typer, kind: type[RunSpec]) -> None:
    """Add the command to `app`."""
    app.command("serve-config", cls=GroupedCommand)(serve_config)
