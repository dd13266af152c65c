"""The one line that says what went wrong, out of what TensorFlow and Keras wrap around it."""

from __future__ import annotations

import re

_COLOURS = re.compile(r"\x1b\[[0-9;]*m")
_BOLD = re.compile(r"\x1b\[1m(.*?)\x1b\[0m", re.DOTALL)
_FUNCTION_NODE = re.compile(r"\{\{function_node [^}]*\}\} ?")
_ROOT_ERROR = re.compile(r"^\(\d+\) ?[A-Z_]+: +")
_INNER = re.compile(r"^ {4,}(\w+(?:\.\w+)*): (?=\S)", re.MULTILINE)
_OP = re.compile(r" \[Op:\w+\].*$", re.DOTALL)
_STACK = re.compile(r"Detected at node .*\(most recent call last\):\n(?:(?: +.*)?\n)*")
_ENDS = ("\n0 successful operations.", "\nAdditional GRPC error information")
"""After these, a message from another task says everything a second time."""


def essence(message: str) -> str:
    """The line of `message` that a person needs first.

    Keras sets it in bold after "Exception encountered when calling ..."; autograph puts it last after "in user
    code"; TensorFlow puts it between the stack of the failed operation and the operation's name.
    """
    message = brief(message)
    bold = _BOLD.search(message)
    if message.startswith("Exception encountered when calling") and bold:
        return essence(bold.group(1))
    text = _FUNCTION_NODE.sub("", _COLOURS.sub("", message))
    if text.startswith("in user code:"):
        inner = list(_INNER.finditer(text))
        if inner:
            return essence(text[inner[-1].end() :])
    before, node, _ = text.partition("[[{{")
    lines = [line.strip() for line in before.splitlines() if line.strip()]
    if not lines:
        return ""
    return _OP.sub("", _ROOT_ERROR.sub("", lines[-1 if node else 0]))


def brief(message: str) -> str:
    """`message` without what it says twice: the operation's stack for each root error, all of it for each task."""
    ends = [at for at in (message.find(end) for end in _ENDS) if at >= 0]
    message = message[: min(ends)] if ends else message
    first = _STACK.search(message)
    return message[: first.end()] + _STACK.sub("", message[first.end() :]) if first else message
