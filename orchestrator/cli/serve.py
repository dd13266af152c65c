"""`regatta serve`: a run's model behind TensorFlow Serving's interfaces."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Annotated

import typer

from orchestrator.cli.grouped_help import GroupedCommand
from orchestrator.cli.values import parse_settings
from orchestrator.errors import UsageError
from orchestrator.spec.run import RunSpec

Source = Annotated[Path, typer.Argument(metavar="RUN|FOLDER", help="A run's folder, or a folder of numbered versions.")]
Name = Annotated[str, typer.Option(help="Name of the model in requests.")]
Host = Annotated[str, typer.Option(help="Address to listen on; 0.0.0.0 lets other hosts in.")]
Port = Annotated[int, typer.Option(min=0, max=65535, help="Port of the REST interface; 0 for any.")]
GrpcPort = Annotated[int, typer.Option(min=-1, max=65535, help="Port of the gRPC interface; 0 for any, -1 for none.")]
Versions = Annotated[str, typer.Option(help="Versions to serve: latest, latest:2, all, or numbers such as 1,3.")]
Label = Annotated[
    list[str] | None, typer.Option(metavar="LABEL=VERSION", help="Another name of a version; repeatable.")
]
Replicas = Annotated[int, typer.Option(min=1, max=1000, help="Processes, each with a copy of the model.")]
MaxBatch = Annotated[
    int, typer.Option(min=1, max=100_000, help="Most rows of a call of the model; 1 joins no requests.")
]
BatchWait = Annotated[float, typer.Option(min=0, max=10_000, help="How long a request may wait for others to join it.")]
MaxQueue = Annotated[
    int, typer.Option(min=1, max=1_000_000, help="Requests that may wait; any more are refused (503).")
]
MaxBody = Annotated[int, typer.Option(min=1, max=1024, help="Size of the largest request, in MiB.")]
Timeout = Annotated[float, typer.Option(min=0.1, max=3600, help="Seconds after which a call of the model is given up.")]
Drain = Annotated[float, typer.Option(min=0, max=3600, help="Seconds that requests may take when the server ends.")]
Address = Annotated[str | None, typer.Option(help="Ray cluster whose hosts run the replicas. Default: this host.")]
TokenVariable = Annotated[
    str | None,
    typer.Option(metavar="VARIABLE", help="Environment variable with the token that requests have to bring."),
]
AccessLog = Annotated[bool, typer.Option(help="A line for every request, without its content.")]
_NAME = re.compile(r"[A-Za-z0-9_.-]{1,100}")


def serve(
    source: Source,
    *,
    name: Name = "default",
    host: Host = "127.0.0.1",
    port: Port = 8501,
    grpc_port: GrpcPort = 8500,
    versions: Versions = "latest",
    label: Label = None,
    replicas: Replicas = 1,
    max_batch: MaxBatch = 64,
    batch_wait_ms: BatchWait = 0,
    max_queue: MaxQueue = 1000,
    max_body_mb: MaxBody = 16,
    timeout: Timeout = 60,
    drain: Drain = 30,
    address: Address = None,
    token_variable: TokenVariable = None,
    access_log: AccessLog = False,
) -> None:
    """Serve a model as TensorFlow Serving does, until Ctrl-C or SIGTERM."""
    from orchestrator.cli.terminal import say
    from orchestrator.serving.command import Serving
    from orchestrator.serving.command import serve as serve_until_ended
    from orchestrator.serving.listening import Listening
    from orchestrator.serving.model import Limits
    from orchestrator.serving.versions import parse_labels, parse_policy

    check_name(name)
    listening = Listening(host, port, None if grpc_port < 0 else grpc_port, body_bytes=max_body_mb << 20, drain=drain)
    serving = Serving(
        source,
        name,
        listening,
        Limits(max_batch, batch_wait_ms / 1000, 2 * replicas, max_queue, drain),
        parse_policy(versions),
        parse_labels(parse_settings(label or (), "--label")),
        replicas=replicas,
        seconds=timeout,
        address=address,
        token=_token(token_variable),
        access_log=access_log,
    )
    serve_until_ended(serving, lambda text: say(text, err=True))


def check_name(name: str) -> None:
    """Refuse a name that could not be part of a request's path."""
    if not _NAME.fullmatch(name):
        raise UsageError(f"--name: {name!r} is not allowed: give letters, digits, '.', '_' and '-', 100 at most.")


def _token(variable: str | None) -> str | None:
    if variable is None:
        return None
    if not (value := os.environ.get(variable)):
        raise UsageError(f"--token-variable: the environment variable {variable} is not set, or empty.")
    return value


def register(app: typer.Typer, kind: type[RunSpec]) -> None:
    """Add the command to `app`."""
    app.command(cls=GroupedCommand)(serve)
