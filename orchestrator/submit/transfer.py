"""A run directory as lines of text, and back: what `regatta fetch` brings home through a job's log.

The Jobs API of Ray carries text and nothing else, and its port is often the only one that is open. First line: the
manifest, `{"files": {path: {"sha256": ..., "bytes": ...}}}`. Then the files one after another, compressed together,
in base64. Last line: the manifest's own hash. Nothing is written before all of it has been checked.
"""

from __future__ import annotations

import base64
import hashlib
import json
import sys
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from orchestrator.errors import ClusterError, UsageError
from orchestrator.spec.run import shown

BEGIN, LINE, END = "regatta-transfer:", "regatta-transfer-data:", "regatta-transfer-end:"
MAX_BYTES = 256 << 20
_CHUNK = 48 << 10
_SKIPPED = (".claim",)
_LONGEST_PATH = 1000


def pack(folder: Path, only: str | None = None) -> Iterator[str]:
    """Lines that hold the files in `folder`, or the one named `only`.

    Raises:
        UsageError: there is no such folder, or it is too large to travel as text.
    """
    paths = sorted(path for path in folder.rglob("*") if path.is_file() and path.name not in _SKIPPED)
    if only is not None:
        paths = [path for path in paths if path.relative_to(folder).as_posix() == only]
    if not paths:
        raise UsageError(f"There is nothing to fetch in {folder}{f' called {only}' if only else ''} on the cluster.")
    # Read once: of a run that goes on, the manifest is to describe what is sent.
    contents: list[bytes] = []
    files: dict[str, dict[str, Any]] = {}
    for path in paths:
        data = path.read_bytes()
        contents.append(data)
        files[path.relative_to(folder).as_posix()] = {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)}
        if sum(map(len, contents)) > MAX_BYTES:
            raise UsageError(
                f"{folder} on the cluster is larger than {MAX_BYTES >> 20} MiB: copy it with rsync instead, "
                "or `ray rsync-down`."
            )
    manifest = json.dumps({"files": files})
    yield BEGIN + manifest
    packed = zlib.compress(b"".join(contents), 6)
    for start in range(0, len(packed), _CHUNK):
        yield LINE + base64.b64encode(packed[start : start + _CHUNK]).decode()
    yield END + hashlib.sha256(manifest.encode()).hexdigest()


def unpack(lines: Iterable[str]) -> dict[str, bytes]:
    """Path to content of every file in `lines`; lines of other output are skipped.

    Raises:
        ClusterError: something is missing, damaged, or would be written outside of the run's folder.
    """
    manifest, seal, packed = "", "", []
    for line in map(str.rstrip, lines):
        if line.startswith(BEGIN):
            manifest = line.removeprefix(BEGIN)
        elif line.startswith(LINE):
            packed.append(line.removeprefix(LINE))
        elif line.startswith(END):
            seal = line.removeprefix(END)
    if not manifest or hashlib.sha256(manifest.encode()).hexdigest() != seal:
        raise ClusterError("The run's files did not arrive in full: fetch them again.")
    files = _files(manifest)
    expected = sum(size for _, size in files.values())
    if expected > MAX_BYTES:
        raise ClusterError(f"The cluster wants to send {expected:,} bytes; {MAX_BYTES:,} are the most.")
    try:
        everything = b"".join(base64.b64decode(text, validate=True) for text in packed)
        everything = zlib.decompressobj().decompress(everything, expected + 1)
    except (ValueError, zlib.error) as error:
        raise ClusterError(f"The run's files arrived damaged ({error}): fetch them again.") from error
    return _cut(files, everything)


def _files(manifest: str) -> dict[str, tuple[str, int]]:
    """Path to hash and size. What other machines send is looked at before it is believed."""
    try:
        files = {
            name: (str(entry["sha256"]), int(entry["bytes"])) for name, entry in json.loads(manifest)["files"].items()
        }
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError, OverflowError) as error:
        raise ClusterError("What the cluster sent is not a run's files: is it of the same version?") from error
    folders = {parent for name in files for parent in PurePosixPath(name).parents}
    for name, (_, size) in files.items():
        path = PurePosixPath(name)
        if path.is_absolute() or ".." in path.parts or "\0" in name or not path.parts:
            raise ClusterError(f"The cluster sent a file named {shown(name)}, which is outside of the run's folder.")
        if path in folders or size < 0 or len(name.encode(errors="surrogatepass")) > _LONGEST_PATH:
            raise ClusterError(f"The cluster sent {shown(name)} with {size} bytes, which cannot be written.")
    return files


def _cut(files: dict[str, tuple[str, int]], everything: bytes) -> dict[str, bytes]:
    found: dict[str, bytes] = {}
    start = 0
    for name, (sha256, size) in files.items():
        data = everything[start : start + size]
        start += size
        if hashlib.sha256(data).hexdigest() != sha256:
            raise ClusterError(
                f"{shown(name)} arrived damaged: its SHA-256 is not the one it was sent with. Fetch it again."
            )
        found[name] = data
    return found


def write(files: dict[str, bytes], folder: Path) -> None:
    """Put fetched files into `folder`, which is there and was empty.

    Raises:
        UsageError: it cannot be written to, or not under such a name.
    """
    try:
        for name, data in files.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
    except (OSError, ValueError) as error:
        raise UsageError(
            f"out: {folder} cannot be written to: {error}. Free some space or name another folder."
        ) from None


def send(folder: Path, only: str | None = None) -> None:
    """Print the lines of `pack`."""
    for line in pack(folder, only):
        sys.stdout.write(f"{line}\n")
    sys.stdout.flush()
