"""The error for a script that cannot be trained."""

from __future__ import annotations


class ScriptError(ValueError):
    """The script cannot be trained as it is. The message names the call or argument, and says what to do."""
