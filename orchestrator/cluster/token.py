"""The token of a Ray cluster: made for those that we start here, and sent only where it belongs.

Ray would make one itself, but readable by every user of the machine (mode 0644, Ray 2.60), and none at all if
RAY_AUTH_MODE says so. https://docs.ray.io/en/latest/ray-security/token-auth.html

A token in RAY_AUTH_TOKEN, or in the file that RAY_AUTH_TOKEN_PATH names, was given for the command at hand. The one in
`~/.ray/auth_token` is there for every command: it is sent only to hosts that it is known to be for.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import socket
import stat
from pathlib import Path

from orchestrator.errors import ClusterError, UsageError
from orchestrator.spec import trust

_BYTES = 32
HERE = "localhost"
"""This host, in the list of hosts that a token is for."""


def require_token() -> None:
    """Make Ray, started by this process, require a token: the existing one, or a new one.

    A new token is stored in `~/.ray/auth_token`, like Ray's own; if that cannot be written, only this process and its
    children know it. It is never printed.

    Raises:
        UsageError: RAY_AUTH_TOKEN_PATH names a file that holds no token.
    """
    os.environ["RAY_AUTH_MODE"] = "token"  # whatever it was: an open port would run anyone's code
    path = token_path()
    if "RAY_AUTH_TOKEN_PATH" not in os.environ:
        _restrict(path)
    if token() is not None:
        return
    if os.environ.get("RAY_AUTH_TOKEN_PATH"):
        raise UsageError(
            f"RAY_AUTH_TOKEN_PATH names {path}, from which no token can be read. Put one there, mode 0600, or unset "
            "the variable: a local run then creates its own."
        )
    made = secrets.token_hex(_BYTES)
    try:
        _write(path, made)
        trust.bind_token(made, HERE)
    except OSError:
        os.environ["RAY_AUTH_TOKEN"] = made


def token_path() -> Path:
    """The file from which Ray reads its token if RAY_AUTH_TOKEN is not set."""
    if path := os.environ.get("RAY_AUTH_TOKEN_PATH"):
        return Path(path)
    try:
        return Path.home() / ".ray" / "auth_token"
    except RuntimeError:
        raise UsageError("This user has no home directory: set HOME, or RAY_AUTH_TOKEN_PATH.") from None


def token() -> str | None:
    """The token that Ray would use on this machine: from RAY_AUTH_TOKEN, or from the file at `token_path`."""
    if value := os.environ.get("RAY_AUTH_TOKEN"):
        return value
    try:
        return token_path().read_text().strip() or None
    except (OSError, ValueError):
        return None


def token_for(host: str) -> str | None:
    """The token, if it may be sent to `host`; None if there is none.

    Raises:
        ClusterError: it is known to be for other hosts.
    """
    known = token()
    if known is None or os.environ.get("RAY_AUTH_TOKEN") or os.environ.get("RAY_AUTH_TOKEN_PATH"):
        return known
    hosts = trust.token_hosts(known)
    if hosts and name_of(host) not in hosts:
        raise ClusterError(
            f"The Ray cluster at {host} requires a token. The one in {token_path()} is for {', '.join(hosts)} and was "
            "not sent. Put the token of this cluster into the variable RAY_AUTH_TOKEN; if it is the same one, add "
            f"{host} to its hosts in {trust.trust_file()}."
        )
    return known


def refuse_open(host: str, address: str, *, searched: bool = False) -> None:
    """Refuse a cluster that asks for no token though we have one: it may be somebody else's, in its place.

    On this host that goes for one that was `searched` for only: who gives its address may mean an open one.

    Raises:
        ClusterError: says so.
    """
    known = token()
    if known is None:
        return
    if searched:
        raise ClusterError(
            f"The Ray cluster at {address}, found on this host, asks for no token although you have one: anyone "
            f"can run code in it. Start it with RAY_AUTH_MODE=token, or join it regardless with --address {address}."
        )
    if name_of(host) != HERE and name_of(host) in trust.token_hosts(known):
        raise ClusterError(
            f"The Ray cluster at {address} asks for no token, though it did before: anyone can run code there, or it "
            "is not the cluster that it was. Start it with RAY_AUTH_MODE=token; if it is meant to be open, remove "
            f"{host} from `tokens` in {trust.trust_file()}."
        )


def name_of(host: str) -> str:
    """How hosts are noted: all addresses of this one are one host."""
    return HERE if _is_here(host) else host.lower()


def _is_here(host: str) -> bool:
    """Whether a socket can be bound to all addresses of `host`."""
    try:
        found = socket.getaddrinfo(host.strip("[]"), 0, type=socket.SOCK_STREAM)
        for family, kind, protocol, _, address in found:
            with socket.socket(family, kind, protocol) as probe:
                probe.bind(address)
    except OSError:
        return False
    return bool(found)


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
