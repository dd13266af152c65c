"""Creates the token of a Ray cluster that we start here, before Ray starts and readable by its owner only.

Ray would create one itself, but readable by every user of the machine (mode 0644, Ray 2.60), and none at all if
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
    """Make Ray, started by this process, require a token: the existing one, or a new one.

    A new token is stored in `~/.ray/auth_token`, like Ray's own; if that cannot be written, only this process and its
    children know it. It is never printed.

    Raises:
        UsageError: RAY_AUTH_TOKEN_PATH names a file that holds no token.
    """
    os.environ["RAY_AUTH_MODE"] = "token"  # whatever it was: an open port would run anyone's code
    path = access.token_path()
    if "RAY_AUTH_TOKEN_PATH" not in os.environ:
        _restrict(path)
    if access.token() is not None:
        return
    if os.environ.get("RAY_AUTH_TOKEN_PATH"):
        raise UsageError(
            f"RAY_AUTH_TOKEN_PATH names {path}, from which no token can be read. Put one there, mode 0600, or unset "
            "the variable: a local run then creates its own."
        )
    token = secrets.token_hex(_BYTES)
    try:
        _write(path, token)
    except OSError:
        os.environ["RAY_AUTH_TOKEN"] = token


def _restrict(path: Path) -> None:
    """Remove other users' access to a token file that Ray created."""
    with contextlib.suppress(OSError):
        info = path.lstat()
        if stat.S_ISREG(info.st_mode) and info.st_uid == os.getuid() and info.st_mode & 0o077:
            path.chmod(0o600)


def _write(path: Path, token: str) -> None:
    """Create the file atomically with its content; if two commands do so at once, the first one wins."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    try:
        with os.fdopen(descriptor, "w") as file:
            file.write(token)
            file.flush()
            os.fsync(file.fileno())
        with contextlib.suppress(FileExistsError):
            os.link(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    if not path.read_text().strip():  # an empty file was there before
        raise FileExistsError(path)
