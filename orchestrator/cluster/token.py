"""The token of the Ray that we start here: there before Ray is, and nobody else's to read.

Ray would write one itself, but readable by every user of the machine (mode 0644, Ray 2.60), and not at all where
RAY_AUTH_MODE says so. https://docs.ray.io/en/latest/ray-security/token-auth.html
"""

from __future__ import annotations

import contextlib
import os
import secrets
import stat
from pathlib import Path

from orchestrator.cluster import access
from orchestrator.errors import UsageError

_BYTES = 32


def require_token() -> None:
    """Have Ray, started by this process, ask everybody for a token: the one that is there, or a new one.

    A new one is kept in `~/.ray/auth_token`, as Ray's own would be; where that cannot be written, this process and
    its children alone know it. It is never printed.

    Raises:
        UsageError: RAY_AUTH_TOKEN_PATH names a file that holds no token.
    """
    os.environ["RAY_AUTH_MODE"] = "token"  # whatever it was: an open port that runs code is nobody's wish
    path = access.token_path()
    if "RAY_AUTH_TOKEN_PATH" not in os.environ:
        _close_to_others(path)
    if access.token() is not None:
        return
    if os.environ.get("RAY_AUTH_TOKEN_PATH"):
        raise UsageError(
            f"RAY_AUTH_TOKEN_PATH names {path}, and there is no token in it that can be read. Put one there, mode "
            "0600, or unset the variable: a local run then makes its own."
        )
    token = secrets.token_hex(_BYTES)
    try:
        _write(path, token)
    except OSError:
        os.environ["RAY_AUTH_TOKEN"] = token


def _close_to_others(path: Path) -> None:
    """Take the rights of others to a token file that Ray made."""
    with contextlib.suppress(OSError):
        found = path.lstat()
        if stat.S_ISREG(found.st_mode) and found.st_uid == os.getuid() and found.st_mode & 0o077:
            path.chmod(0o600)


def _write(path: Path, token: str) -> None:
    """Make the file, whole from its first moment; of two commands that do so at once, one wins."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    new = path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}")
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    try:
        with os.fdopen(descriptor, "w") as file:
            file.write(token)
            file.flush()
            os.fsync(file.fileno())
        with contextlib.suppress(FileExistsError):
            os.link(new, path)
    finally:
        new.unlink(missing_ok=True)
    if not path.read_text().strip():  # there was one, and it is empty
        raise FileExistsError(path)
