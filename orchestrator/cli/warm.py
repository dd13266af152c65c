"""`regatta up` and `regatta down`: Ray and TensorFlow kept ready for the next commands on this machine."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from orchestrator.cli.flags import Json
from orchestrator.cli.grouped_help import GroupedCommand
from orchestrator.cli.terminal import finish
from orchestrator.spec.run import RunSpec

if TYPE_CHECKING:
    from rich.console import Console

Minutes = Annotated[float, typer.Option(min=0.1, max=24 * 60, help="How long to keep them, from now on.")]
Now = Annotated[bool, typer.Option("--now", help="Also if a command uses it, which then fails.")]


def up(minutes: Minutes = 60, as_json: Json = False) -> None:
    """Keep Ray and TensorFlow ready on this machine, so that the next commands start at once."""
    from orchestrator.cluster.warm.commands import up as keep
    from orchestrator.cluster.warm.shown import described
    from orchestrator.text import seconds as lasting

    warm = keep(minutes)

    def show(console: Console) -> None:
        was = "are warm" if warm.started else "were warm already, and stay so,"
        lines = [
            f"Ray and TensorFlow {was} for {lasting(warm.state.seconds_left)}. {described(warm)}.",
            "Your next commands on this machine start with them. `regatta down` ends them at once.",
        ]
        for line in lines:
            console.print(line, markup=False, highlight=False, soft_wrap=True)

    finish(warm.to_json(), as_json, show)


def down(now: Now = False, as_json: Json = False) -> None:
    """End what `regatta up` keeps."""
    from orchestrator.cluster.warm.commands import down as end
    from orchestrator.text import plural

    left = end(now=now)
    if left is None:
        text = "Nothing is kept warm."
    else:
        users = plural(left.commands, "command")
        text = f"In use by {users}: it ends after the last one, and new commands start without it. `--now` ends both."
    document = {"up": left is not None, "commands": left.commands if left else 0}
    finish(document, as_json, lambda console: console.print(text, markup=False, highlight=False, soft_wrap=True))


def register(app: typer.Typer, kind: type[RunSpec]) -> None:
    """Add the commands to `app`."""
    for command in (up, down):
        app.command(cls=GroupedCommand)(command)
