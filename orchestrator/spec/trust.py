"""What a spec file may not decide alone: who gets the cluster's token, secrets, results or signed requests.

A spec can come from a stranger. A field whose `Flag` says what it gives away counts when it is given on the command
line or from Python, or is listed in the user's own file, `~/.config/regatta/trust.yaml`. That file is also where
Regatta notes what the user has confirmed, so that `regatta resume` need not ask again.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from orchestrator.errors import SpecError, UsageError
from orchestrator.spec.run import RunSpec
from orchestrator.spec.yaml import load
from workers import files
from workers.settings import Flag

TOKENS = "tokens"
"""Fingerprints of cluster tokens, each with the hosts that it is for."""
_MAX_BYTES = 1 << 20


def trust_file() -> Path:
    """Where the user's list lies; raises UsageError if this user has no home."""
    try:
        base = os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config"
    except RuntimeError:
        raise UsageError("This user has no home directory: set HOME, or XDG_CONFIG_HOME.") from None
    return Path(base) / "regatta" / "trust.yaml"


def check(source: Path, given: Mapping[str, Any], confirmed: Mapping[str, Any], kind: type[RunSpec] = RunSpec) -> None:
    """Refuse what the spec file `source` gives away and the user has not `confirmed` on the command line.

    Raises:
        SpecError: names the field, what it would give away, and how to confirm it.
    """
    listed: Mapping[str, Any] | None = None
    for name, flag in _fields_that_give_away(kind):
        own = () if confirmed.get(name) is not None else (given.get(name),)
        asked = [*_values(name, own), *_values(name, list(_varied(name, given)))]
        allowed = set(_values(name, (confirmed.get(name),)))
        for value in asked:
            if value in allowed:
                continue
            listed = trusted() if listed is None else listed
            if value not in listed.get(name, ()):
                option = flag.name or f"--{name.replace('_', '-')}"
                raise SpecError(
                    name,
                    f"{source.name} asks for {value}, which gives away {flag.gives_away}. A file may come from a "
                    f"stranger, so confirm it with {option} {value}, or list it under `{name}` in {trust_file()}",
                )


def remember(spec: RunSpec) -> None:
    """Note what `spec`, which the user has confirmed, gives away."""
    found = {name: _values(name, (getattr(spec, name),)) for name, _ in _fields_that_give_away(type(spec))}
    add({name: values for name, values in found.items() if values})


def as_flags(values: Mapping[str, Any], kind: type[RunSpec] = RunSpec) -> list[str]:
    """The arguments of a command that confirm a spec file with these `values`."""
    return [
        part
        for name, flag in _fields_that_give_away(kind)
        for value in _values(name, (values.get(name),))
        for part in (flag.name or f"--{name.replace('_', '-')}", value)
    ]


def trusted() -> dict[str, Any]:
    """What the user's file lists: values by field, and hosts by fingerprint under `tokens`.

    Raises:
        UsageError: others could have written it, or it is not one.
    """
    path = trust_file()
    try:
        with files.open_regular(path) as file:
            found = os.fstat(file.fileno())
            if found.st_uid not in (0, os.getuid()) or found.st_mode & 0o022:
                raise UsageError(f"{path} can be written by other users: chmod 600 it, or remove it.")
            text = file.read(_MAX_BYTES)
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}. Mend it, or remove it.") from None
    try:
        values = load(text.decode())
    except ValueError as error:
        raise UsageError(f"{path} is not plain YAML: {error}. Mend it, or remove it.") from None
    if values is None:
        return {}
    if not isinstance(values, dict) or not all(isinstance(value, list | dict) for value in values.values()):
        raise UsageError(f"{path} has to hold lists of values by field, such as `address: [head:6379]`.")
    return values


def token_hosts(token: str) -> list[str]:
    """The hosts that `token` is for, as far as this user has made it or used it; empty if it is not known."""
    hosts = trusted().get(TOKENS, {})
    found = hosts.get(fingerprint(token), []) if isinstance(hosts, dict) else []
    return [str(host) for host in found] if isinstance(found, list) else []


def bind_token(token: str, host: str) -> None:
    """Note that `token` was made for `host`, or accepted there."""
    if host not in token_hosts(token):
        add({}, {fingerprint(token): [host]})


def fingerprint(token: str) -> str:
    """Names a token without telling it."""
    return hashlib.sha256(token.encode()).hexdigest()[:24]


def add(values: Mapping[str, list[str]], tokens: Mapping[str, list[str]] | None = None) -> None:
    """Add to the user's file; where it cannot be written, the next command asks again."""
    import yaml

    with contextlib.suppress(OSError), _locked() as path:
        known = trusted()
        changed = False
        sections = [(known, values)]
        if tokens:
            sections.append((known.setdefault(TOKENS, {}), tokens))
        for section, more in sections:
            for name, new in more.items():
                missing = [value for value in new if value not in section.setdefault(name, [])]
                section[name] += missing
                changed = changed or bool(missing)
        if changed:
            files.write_atomically(path, yaml.safe_dump(known, sort_keys=True), mode=0o600)


@contextlib.contextmanager
def _locked() -> Iterator[Path]:
    path = trust_file()
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield path
    finally:
        os.close(descriptor)


def _fields_that_give_away(kind: type[RunSpec]) -> Iterator[tuple[str, Flag]]:
    for name, field in kind.model_fields.items():
        for part in field.metadata:
            if isinstance(part, Flag) and part.gives_away:
                yield name, part


def _varied(name: str, given: Mapping[str, Any]) -> Iterator[Any]:
    """Values of field `name` that a comparison in a file gives to its variants."""
    vary, variants = given.get("vary"), given.get("variants")
    if isinstance(vary, Mapping) and name in vary:
        yield vary[name]
    if isinstance(variants, Mapping):
        yield from (fields[name] for fields in variants.values() if isinstance(fields, Mapping) and name in fields)


def _values(name: str, given: Sequence[Any]) -> list[str]:
    """Those values of a field that give something away, each once."""
    harmless = _HARMLESS.get(name, _never)
    return [value for value in dict.fromkeys(_flat(given)) if not harmless(value)]


def _flat(given: Any) -> Iterator[str]:
    if isinstance(given, list | tuple):
        for value in given:
            yield from _flat(value)
    elif given is not None:
        yield str(given)


def _is_usual_storage(uri: str) -> bool:
    """Whether a storage is this host's, or its URI leaves it to the cloud's own names where signed requests go."""
    scheme, mark, rest = uri.partition("://")
    options = [option for option in rest.partition("?")[2].split("&") if option]
    usual = all(option.startswith(("region=", "anonymous=")) for option in options)
    return not mark or scheme == "file" or (scheme in ("s3", "gs", "gcs") and usual)


def _never(_value: str) -> bool:
    return False


def _is_own_cluster(address: str) -> bool:
    """Whether only a cluster of this user's is meant, see `orchestrator.cluster.discovery`."""
    return address in ("auto", "local")


_HARMLESS: Mapping[str, Callable[[str], bool]] = {
    "address": _is_own_cluster,
    "checkpoints": _is_usual_storage,
}
