"""Loaders that need no TensorFlow: shipped digits, tables, archives, record framing, and missing files."""

import hashlib
import pickle
import re
import struct
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import csv, parquet

from jobs.data import digits, folders, generator, keras_sets, npz, synthetic, tables, tfrecord
from jobs.data.errors import DataFileError

pytestmark = pytest.mark.unit


def test_shipped_digits_are_the_published_file() -> None:
    provenance = digits.FILE.with_name("PROVENANCE.md").read_text()
    assert hashlib.sha256(digits.FILE.read_bytes()).hexdigest() in provenance
    assert f"{digits.FILE.stat().st_size:,} bytes" in provenance
    assert digits.FILE.stat().st_size < 100_000


def test_digits_are_split_in_proportion_without_overlap() -> None:
    data = digits.load()
    assert [array.shape for array in data] == [(1437, 64), (1437,), (360, 64), (360,)]
    assert [array.dtype for array in data] == [np.float32, np.int32, np.float32, np.int32]
    assert (data.x_train.min(), data.x_train.max()) == (0, 1)
    shares = np.bincount(data.y_eval) / (np.bincount(data.y_eval) + np.bincount(data.y_train))
    assert np.abs(shares - 0.2).max() < 0.006
    # Every row of the file is in exactly one part, as often as the file has it.
    table = np.loadtxt(digits.FILE, delimiter=",", dtype=np.float32)
    parts = np.concatenate(
        [np.c_[data.x_train * 16, data.y_train], np.c_[data.x_eval * 16, data.y_eval]], dtype=np.float32
    )
    assert sorted(map(bytes, parts)) == sorted(map(bytes, table))
    assert all(np.array_equal(a, b) for a, b in zip(data, digits.load(), strict=True))


def test_synthetic_images_are_the_same_every_time_and_balanced() -> None:
    first = synthetic.images((28, 28, 1), train=1_500, evaluation=50)
    synthetic.images.cache_clear()
    again = synthetic.images((28, 28, 1), train=1_500, evaluation=50)
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    assert first.x_train.shape == (1_500, 28, 28, 1)
    assert (first.x_train.dtype, first.y_train.dtype) == (np.uint8, np.int32)
    assert set(np.bincount(first.y_train)) == {150}


def test_npz(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", x=np.arange(6).reshape(3, 2), y=np.arange(3))
    x, y = npz.load(tmp_path / "a.npz", ["x", "y"])
    assert x.shape == (3, 2)
    assert y.tolist() == [0, 1, 2]


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("gone.npz", "there is no such file"),
        ("text.npz", "not a readable .npz file"),
        ("cut.npz", "not a readable .npz file"),
        ("bare.npz", "a single unnamed array"),
        ("names.npz", "has no array 'y'; it has x, z"),
        ("lengths.npz", "differ in length: {'x': 3, 'y': 2}"),
    ],
)
def test_a_damaged_npz_file_is_named(tmp_path: Path, name: str, said: str) -> None:
    (tmp_path / "text.npz").write_text("no archive")
    np.savez(tmp_path / "cut.npz", x=np.zeros(1_000), y=np.zeros(1_000))
    (tmp_path / "cut.npz").write_bytes((tmp_path / "cut.npz").read_bytes()[:900])
    with (tmp_path / "bare.npz").open("wb") as file:
        np.save(file, np.zeros(3))
    np.savez(tmp_path / "names.npz", x=np.zeros(3), z=np.zeros(3))
    np.savez(tmp_path / "lengths.npz", x=np.zeros(3), y=np.zeros(2))
    with pytest.raises(DataFileError, match=re.escape(said)) as caught:
        npz.load(tmp_path / name, ["x", "y"])
    assert caught.value.path == tmp_path / name
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_tables(tmp_path: Path, suffix: str) -> None:
    path = _write_table(tmp_path / f"t{suffix}", {"a": [1.5, 2.5], "b": [True, False], "label": [0, 1]})
    table = tables.load(path, "label")
    assert (table.x.tolist(), table.y.tolist(), table.columns) == ([[1.5, 1], [2.5, 0]], [0, 1], ("a", "b"))
    assert (table.x.dtype, table.y.dtype) == (np.float32, np.int64)
    assert tables.load(path, "a", ["label"]).y.dtype == np.float32


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_damaged_tables_are_named(tmp_path: Path, suffix: str) -> None:
    path = _write_table(tmp_path / f"t{suffix}", {"a": ["x", "y"], "b": [1, None], "label": [0, 1]})
    for label, features, said in [
        ("lable", None, "no column 'lable' (did you mean 'label'?); it has a, b, label"),
        ("label", ["a"], "column 'a' holds string, not numbers; the first: 'x'"),
        ("label", ["b"], "column 'b' has 1 missing values"),
    ]:
        with pytest.raises(DataFileError, match=re.escape(f"{path}: ") + ".*" + re.escape(said)):
            tables.load(path, label, features)
    path.write_bytes(b"a,b\n1,2,3\n4")
    with pytest.raises(DataFileError, match="not a readable"):
        tables.load(path, "a")


def _write_table(path: Path, columns: dict[str, list[object]]) -> Path:
    table = pa.table(columns)
    if path.suffix == ".csv":
        csv.write_csv(table, path)
    else:
        parquet.write_table(table, path)
    return path


RECORD = bytes.fromhex("0300000000000000") + struct.pack("<I", tfrecord._masked_crc32c(b"\3" + b"\0" * 7))


def test_the_checksum_matches_its_specification() -> None:
    # RFC 3720, B.4: CRC-32C of 32 bytes of zeros is aa 36 91 8a on the wire, which is 0x8a9136aa.
    crc = 0x8A9136AA
    assert tfrecord._masked_crc32c(bytes(32)) == ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"some text, and no records at all", "not a TFRecord file"),
        (RECORD + b"abc????" + RECORD + b"ab", "ends inside record 1"),
        (RECORD + b"abc????" + RECORD[:5], "ends inside record 1"),
        (RECORD + b"abc????" + b"\1" + RECORD[1:] + b"abc????", "damaged at byte 19 (record 1)"),
    ],
)
def test_damaged_record_files_are_named(tmp_path: Path, content: bytes, said: str) -> None:
    path = tmp_path / "a.tfrecord"
    path.write_bytes(content)
    with pytest.raises(DataFileError, match=re.escape(f"{path}: ") + ".*" + re.escape(said)):
        tfrecord.check_framing(path)


def test_record_files_by_pattern(tmp_path: Path) -> None:
    for name in ("b.tfrecord", "a.tfrecord"):
        (tmp_path / name).write_bytes(RECORD + b"abc????")
    found = tfrecord.files(tmp_path / "*.tfrecord")
    assert [path.name for path in found] == ["a.tfrecord", "b.tfrecord"]
    assert [tfrecord.check_framing(path) for path in found] == [1, 1]
    with pytest.raises(DataFileError, match="no file matches"):
        tfrecord.files(tmp_path / "*.records")


def test_image_folders(tmp_path: Path) -> None:
    with pytest.raises(DataFileError, match="no such folder"):
        folders.find(tmp_path / "gone")
    for name in ("cat", "dog"):
        (tmp_path / name).mkdir()
    with pytest.raises(DataFileError, match="contains no images"):
        folders.find(tmp_path)
    for number in range(5):
        (tmp_path / "cat" / f"{number}.PNG").touch()
        (tmp_path / "dog" / f"{number}.jpg").touch()
    (tmp_path / "dog" / "notes.txt").touch()
    found = folders.find(tmp_path)
    assert found.classes == ("cat", "dog")
    assert [label for _, label in found.train] == [0] * 4 + [1] * 4
    assert [label for _, label in found.evaluation] == [0, 1]
    (tmp_path / "dog").rename(tmp_path / "cat" / "dog")
    with pytest.raises(DataFileError, match="at least two; has cat"):
        folders.find(tmp_path)


def test_image_folders_with_train_and_val(tmp_path: Path) -> None:
    for part in ("train/cat", "train/dog", "val/cat", "val/cow"):
        (tmp_path / part).mkdir(parents=True)
        (tmp_path / part / "1.png").touch()
    with pytest.raises(DataFileError, match="classes that train/ lacks: cow"):
        folders.find(tmp_path)
    (tmp_path / "val" / "cow").rename(tmp_path / "val" / "dog")
    assert [Path(path).parent.name for path, _ in folders.find(tmp_path).evaluation] == ["cat", "dog"]


def test_generator_to_arrays() -> None:
    x, y = generator.arrays(lambda: ((np.full(2, n), n) for n in range(10)), limit=3)
    assert (x.tolist(), y.tolist()) == ([[0, 0], [1, 1], [2, 2]], [0, 1, 2])
    with pytest.raises(ValueError, match="yields nothing"):
        generator.arrays(lambda: iter(()))


def test_keras_cache_folder_is_where_keras_looks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "made" / "when needed"))
    assert keras_sets.cache_folder() == tmp_path / "made" / "when needed" / "datasets"
    assert keras_sets.cache_folder().is_dir()
    monkeypatch.setenv("KERAS_HOME", "/proc/not writable")
    assert keras_sets.cache_folder() == Path("/tmp/.keras/datasets")
