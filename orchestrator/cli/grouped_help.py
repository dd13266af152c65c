"""Help in plain text, 80 columns wide, with options under the headings of their groups."""

from __future__ import annotations

from typing import Any

import typer.core

_HEADINGS = ("Arguments", "Training", "Data", "Cluster", "Faults", "Output", "Options")
_WIDEST_NAME = 34


class GroupedCommand(typer.core.TyperCommand):
    """A command whose help lists each option under its `rich_help_panel`."""

    def format_options(self, ctx: Any, formatter: Any) -> None:
        groups: dict[str, list[tuple[str, str]]] = {heading: [] for heading in _HEADINGS}
        for parameter in self.get_params(ctx):
            if (record := parameter.get_help_record(ctx)) is not None:
                is_argument = isinstance(parameter, typer.core.TyperArgument)
                heading = getattr(parameter, "rich_help_panel", None) or ("Arguments" if is_argument else "Options")
                groups[heading].append(record)
        for heading, records in groups.items():
            if records:
                with formatter.section(heading):
                    formatter.write_dl(records, col_max=_WIDEST_NAME)
