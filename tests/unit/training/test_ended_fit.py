"""What an earlier fit has left behind comes from a folder that may be a stranger's."""

from __future__ import annotations

import io
import json
import zipfile

import pytest

from workers.checkpoints.errors import DamagedError
from workers.training.ended_fit import StoredFit

pytestmark = pytest.mark.unit


def packed(**changes: object) -> bytes:
    document = {"callbacks": {}, "arrays": [], "params": {}, "stopped": False, "files": ["out/best.keras"], **changes}
    nothing, whole = io.BytesIO(), io.BytesIO()
    zipfile.ZipFile(nothing, "w").close()
    with zipfile.ZipFile(whole, "w") as archive:
        archive.writestr("fit.json", json.dumps(document))
        archive.writestr("arrays.npz", nothing.getvalue())
        archive.writestr("file-0", b"best")
    return whole.getvalue()


def test_files_are_told_by_the_paths_that_the_script_knows() -> None:
    assert StoredFit(1, packed()).files == {"out/best.keras": b"best"}


@pytest.mark.parametrize(
    "content",
    [
        packed(files=["../best.keras"]),
        packed(files=["/tmp/best.keras"]),
        packed(files=["a", "b"]),
        packed(arrays=[{"kind": "weights", "dtype": "float32", "shape": [2]}]),
        packed()[:-40],
        b"",
    ],
)
def test_what_is_damaged_or_leads_out_of_the_folder_is_refused(content: bytes) -> None:
    with pytest.raises(DamagedError, match="what fit 2 left behind cannot be read"):
        StoredFit(2, content)
