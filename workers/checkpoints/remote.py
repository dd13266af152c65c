"""Checkpoints in an object store or another file system supported by `pyarrow.fs`: S3, GCS, Azure, HDFS."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterator
from typing import IO, Any, TypeVar

from workers.checkpoints.errors import CheckpointError
from workers.checkpoints.manifest import MANIFEST
from workers.checkpoints.storage import Draft, parsed_name, sorted_names

_Written = TypeVar("_Written")
_PASSWORD = re.compile(r"(?<=://)[^/@]*@")


class RemoteStorage:
    """A folder of a `pyarrow.fs.FileSystem`."""

    def __init__(self, uri: str) -> None:
        from pyarrow.fs import FileSystem

        self.url = _PASSWORD.sub("", uri).partition("?")[0]
        try:
            self._files, root = FileSystem.from_uri(uri)
        except (OSError, ValueError, NotImplementedError) as error:
            raise CheckpointError(f"{self.url} is not a location that pyarrow.fs can open: {error}") from None
        self._root = root.rstrip("/")
        if not self._root:
            raise CheckpointError(f"{self.url} names neither a bucket nor a folder for checkpoints")

    def names(self) -> list[str]:
        """Names of the folders that have a manifest; a folder without one is unfinished."""
        from pyarrow.fs import FileSelector, FileType

        infos = self._files.get_file_info(FileSelector(self._root, recursive=True, allow_not_found=True))
        below = (info.path.removeprefix(f"{self._root}/").split("/") for info in infos if info.type == FileType.File)
        return sorted_names(path[0] for path in below if len(path) == 2 and path[1] == MANIFEST)

    def read(self, name: str, limit: int) -> bytes | None:
        try:
            with self._files.open_input_file(f"{self._root}/{name}") as file:
                data: bytes = file.read(min(limit, file.size()) + 1)
        except FileNotFoundError:
            return None
        if len(data) > limit:
            raise CheckpointError(f"{self.url}/{name} is larger than the {limit} bytes allowed")
        return data

    def put(self, name: str, data: bytes) -> None:
        self._files.create_dir(self._root, recursive=True)
        with self._files.open_output_stream(f"{self._root}/{name}") as file:
            file.write(data)

    @contextlib.contextmanager
    def draft(self, name: str) -> Iterator[Draft]:
        path = f"{self._root}/{name}"
        self._files.create_dir(path, recursive=True)
        draft = _RemoteDraft(self._files, path)
        try:
            yield draft
        finally:
            if not draft.finished:
                with contextlib.suppress(OSError):
                    self._files.delete_dir(path)

    def remove(self, name: str) -> None:
        with contextlib.suppress(FileNotFoundError):
            self._files.delete_file(f"{self._root}/{name}/{MANIFEST}")
        with contextlib.suppress(FileNotFoundError):
            self._files.delete_dir(f"{self._root}/{name}")

    def clean(self) -> None:
        from pyarrow.fs import FileSelector, FileType

        finished = set(self.names())
        for info in self._files.get_file_info(FileSelector(self._root, allow_not_found=True)):
            name = info.path.rpartition("/")[2]
            if info.type == FileType.Directory and parsed_name(name) and name not in finished:
                self._files.delete_dir(info.path)

    def free_bytes(self) -> int | None:
        return None

    def locked(self) -> contextlib.AbstractContextManager[None]:
        return contextlib.nullcontext()


class _RemoteDraft:
    def __init__(self, files: Any, path: str) -> None:
        self._files = files
        self._path = path
        self.finished = False

    def write(self, name: str, write: Callable[[IO[bytes]], _Written]) -> _Written:
        with self._files.open_output_stream(f"{self._path}/{name}") as file:
            return write(file)

    def finish(self, manifest: bytes, check: Callable[[], None]) -> None:
        check()
        self.write(MANIFEST, lambda file: file.write(manifest))
        self.finished = True
