"""Encodes a run directory as lines of text and decodes it: `regatta fetch` transfers it through a job's log.

Ray's Jobs API transports text only, and its port is often the only open one. The first line is the manifest,
`{"files": {path: {"sha256": ..., "bytes": ...}}}`. Then the concatenated files follow, compressed, in base64. The last
line is the hash of the manifest. Nothing is written to disk before everything has been verified.
"""

from __future__ import annotations

import base64
import hashlib
import json
import sys
import zlib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path, PurePosixPath

from orchestrator.errors import ClusterError, UsageError
from orchestrator.spec.validation import shown
from workers.files import create

BEGIN, LINE, END = "regatta-transfer:", "regatta-transfer-data:", "regatta-transfer-end:"
MAX_BYTES = 256 << 20
_CHUNK = 48 << 10
_SKIPPED = (".claim",)
_LONGEST_PATH = 1000
_LONGEST_MANIFEST = 16 << 20


def pack(folder: Path, only: str | None = None) -> Iterator[str]:
    """Yield lines that encode the files in `folder`, or only the file named `only`.

    Raises:
        UsageError: there are no such files, or they are too large to be sent as text.
    """
    paths = sorted(
        path for path in folder.rglob("*") if path.is_file() and not path.is_symlink() and path.name not in _SKIPPED
    )
    if only is not None:
        paths = [path for path in paths if path.relative_to(folder).as_posix() == only]
    if not paths:
        raise UsageError(
            f"There is nothing to fetch in {folder}{f' called {only}' if only else ''} on the cluster: if the run "
            "failed before it trained, `regatta logs NAME` says why."
        )
    # Each file is read once: the run may still be writing, and the manifest has to describe what is sent.
    contents: dict[str, bytes] = {}
    for path in paths:
        contents[path.relative_to(folder).as_posix()] = path.read_bytes()
        if sum(map(len, contents.values())) > MAX_BYTES:
            raise UsageError(
                f"{folder} on the cluster is larger than {MAX_BYTES >> 20} MiB: copy it with rsync instead, "
                "or `ray rsync-down`."
            )
    yield from encode(contents)


def encode(contents: Mapping[str, bytes]) -> Iterator[str]:
    """Yield lines that encode `contents`, by path."""
    files = {name: {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)} for name, data in contents.items()}
    manifest = json.dumps({"files": files})
    yield BEGIN + manifest
    packed = zlib.compress(b"".join(contents.values()), 6)
    for start in range(0, len(packed), _CHUNK):
        yield LINE + base64.b64encode(packed[start : start + _CHUNK]).decode()
    yield END + hashlib.sha256(manifest.encode()).hexdigest()


def unpack(lines: Iterable[str]) -> dict[str, bytes]:
    """Decode `lines` into file contents by path; lines of other output are skipped.

    Raises:
        ClusterError: something is missing, damaged, or would be written outside the run's folder.
    """
    manifest, digest, packed = "", "", []
    for line in map(str.rstrip, lines):
        if line.startswith(BEGIN):
            manifest = line.removeprefix(BEGIN)
        elif line.startswith(LINE):
            packed.append(line.removeprefix(LINE))
        elif line.startswith(END):
            digest = line.removeprefix(END)
    if not manifest or hashlib.sha256(manifest.encode()).hexdigest() != digest:
        raise ClusterError("The run's files did not arrive completely: fetch them again.")
    files = _files(manifest)
    expected = sum(size for _, size in files.values())
    if expected > MAX_BYTES:
        raise ClusterError(f"The cluster wants to send {expected:,} bytes; the limit is {MAX_BYTES:,}.")
    try:
        everything = b"".join(base64.b64decode(text, validate=True) for text in packed)
        everything = zlib.decompressobj().decompress(everything, expected + 1)
    except (ValueError, zlib.error) as error:
        raise ClusterError(f"The run's files arrived damaged ({error}): fetch them again.") from error
    return _split(files, everything)


def _files(manifest: str) -> dict[str, tuple[str, int]]:
    """Parse and validate the manifest, which is untrusted: SHA-256 and size by path."""
    if len(manifest) > _LONGEST_MANIFEST:
        raise ClusterError(f"The cluster's list of files is longer than {_LONGEST_MANIFEST:,} characters.")
    try:
        files = {
            name: (str(entry["sha256"]), int(entry["bytes"])) for name, entry in json.loads(manifest)["files"].items()
        }
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError, OverflowError) as error:
        raise ClusterError(
            "The cluster did not send a run's files: does it use the same version of Regatta?"
        ) from error
    if len({PurePosixPath(name) for name in files}) < len(files):
        raise ClusterError("The cluster sent two files of the same name.")
    folders = {parent for name in files for parent in PurePosixPath(name).parents}
    for name, (_, size) in files.items():
        path = PurePosixPath(name)
        if path.is_absolute() or ".." in path.parts or "\0" in name or not path.parts:
            raise ClusterError(f"The cluster sent a file named {shown(name)}, which is outside the run's folder.")
        if path in folders or size < 0 or len(name.encode(errors="surrogatepass")) > _LONGEST_PATH:
            raise ClusterError(f"The cluster sent {shown(name)} with {size} bytes, which cannot be written.")
    return files


def _split(files: dict[str, tuple[str, int]], everything: bytes) -> dict[str, bytes]:
    """Cut the concatenated files apart, and verify each."""
    found: dict[str, bytes] = {}
    start = 0
    for name, (sha256, size) in files.items():
        data = everything[start : start + size]
        start += size
        if hashlib.sha256(data).hexdigest() != sha256:
            raise ClusterError(f"{shown(name)} arrived damaged: its SHA-256 does not match. Fetch it again.")
        found[name] = data
    return found


def write(files: dict[str, bytes], folder: Path) -> None:
    """Write fetched files into `folder`, which exists and is empty.

    Raises:
        UsageError: a file cannot be written.
    """
    try:
        for name, data in files.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            with create(path) as file:
                file.write(data)
    except (OSError, ValueError) as error:
        raise UsageError(
            f"out: {folder} cannot be written to: {error}. Free some space or choose another folder."
        ) from None


def send(lines: Iterable[str]) -> None:
    """Print the `lines` of `pack` or `encode`."""
    for line in lines:
        sys.stdout.write(f"{line}\n")
    sys.stdout.flush()
