"""Reads files of the folder `home` from the folder `here` above it, in many ways, and writes and deletes some.

`python many_files.py home here`, in an empty folder `home`.
"""

import glob
import io
import os
import shutil
import sqlite3
import sys
import tarfile
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from jobs.scripts import folders

home, here = (Path(name).resolve() for name in sys.argv[1:3])
(home / "data" / "images").mkdir(parents=True)
(home / "out").mkdir()
(home / "modules").mkdir()
(home / "out" / "kept.txt").write_text("kept")
(home / "text.txt").write_text("user")
(home / "log.txt").write_text("old\n")
(home / "data" / "a.csv").write_text("1,2\n")
(home / "best.keras").write_text("the user's")
(home / "modules" / "near.py").write_text("VALUE = 1")
np.save(home / "rows.npy", np.arange(3))
for i in range(4):
    image = tf.io.encode_png(np.full((8, 8, 3), i * 20, np.uint8))
    tf.io.write_file(str(home / "data" / "images" / f"{i}.png"), image)
with tf.io.TFRecordWriter(str(home / "r.tfrecord")) as writer:
    writer.write(b"hello")
with tarfile.open(home / "t.tar", "w") as tar:
    tar.addfile(tarfile.TarInfo("member"), io.BytesIO())
keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)]).save(home / "m.h5")


def content():
    found = (path for path in home.rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    return {path: path.read_bytes() for path in found}


before = content()
os.chdir(home)
first = folders.scratch()
folders.enter(home, first)
Path("early.txt").write_text("early")
folders.move(here)

# What was written before the run's folder was known is there, by its old path as well.
assert open("early.txt").read() == (first / "early.txt").read_text() == "early"

# Reading.
assert Path("text.txt").read_text() == open(home / "text.txt").read() == "user"
assert os.path.exists("data/a.csv")
assert Path("data").is_dir()
assert np.load("rows.npy").sum() == 3
assert np.loadtxt("data/a.csv", delimiter=",").tolist() == [1, 2]
assert sorted(os.listdir("data")) == ["a.csv", "images"]
assert {"text.txt", "early.txt"} <= set(os.listdir())
assert glob.glob("data/*.csv") == ["data/a.csv"]
assert sorted(path.name for path in Path("data/images").glob("*.png")) == [f"{i}.png" for i in range(4)]
assert len([name for _, _, names in os.walk("data") for name in names]) == 5
assert tarfile.open("t.tar").getnames() == ["member"]
assert next(iter(tf.data.TFRecordDataset("r.tfrecord"))) == b"hello"
names = tf.data.Dataset.from_tensor_slices(["r.tfrecord"])
assert next(iter(names.interleave(tf.data.TFRecordDataset))) == b"hello"
assert len(list(tf.data.Dataset.list_files("data/images/*.png"))) == 4
images = keras.utils.image_dataset_from_directory("data/images", labels=None, image_size=(8, 8), verbose=False)
assert next(iter(images)).shape == (4, 8, 8, 3)
assert tf.io.gfile.exists("rows.npy")
assert min(tf.io.gfile.listdir("data/images")) == "0.png"
assert tf.io.gfile.glob("data/*.csv")
assert tf.io.read_file("text.txt") == b"user"
sys.path.insert(0, "modules")
import near  # noqa: E402

assert near.VALUE == 1

# Writing, also beside what is there, and reading it again.
with open("log.txt", "a") as file:
    file.write("new\n")
assert open("log.txt").read() == "old\nnew\n"
assert tf.io.read_file("log.txt") == b"old\nnew\n"
if not os.path.exists("out"):
    os.mkdir("out")
Path("out/new.txt").write_text("new")
assert sorted(os.listdir("out")) == ["kept.txt", "new.txt"]
os.makedirs("data/deep/er", exist_ok=True)
(home / "data" / "deep" / "absolute.txt").write_text("by its absolute path")
model = keras.models.load_model("m.h5", compile=False)
model.save("best.keras")
assert keras.models.load_model("best.keras").count_params() == 3
model.save("m2.h5")
model.save_weights("w.weights.h5")
model.load_weights("w.weights.h5")
with tf.summary.create_file_writer("events").as_default():
    tf.summary.scalar("a", 1.0, step=1)
tf.train.Checkpoint(v=tf.Variable(1.0)).save("saved/a")
sqlite3.connect(database="q.db").execute("create table t(a)")
os.chdir(home)
Path("late.txt").write_text("late")
os.chdir("data")
assert open("../log.txt").read().startswith("old")
os.chdir("..")

# Regatta's own names.
Path("result.json").write_text("mine")
assert Path("result.json").read_text() == "mine"
os.makedirs("checkpoints/a")
model.save("checkpoints/a/b.keras")
model.save(here / "model.keras")  # an absolute path into the run's folder: Regatta's own
assert (here / "model.keras").is_file()
shutil.rmtree("checkpoints")
assert not os.path.exists("checkpoints")

# Deleting and moving.
os.remove("text.txt")
assert not os.path.exists("text.txt")
Path("text.txt").write_text("again")
assert open("text.txt").read() == "again"
shutil.rmtree("out")
assert not os.path.exists("out")
os.rename("rows.npy", "moved.npy")
assert not os.path.exists("rows.npy")
assert np.load("moved.npy").sum() == 3

folders.leave(home)
after = {path: data for path, data in content().items() if here not in path.parents}
assert after == before, set(after) ^ set(before)
print("written", *sorted(str(path.relative_to(here)) for path in here.rglob("*") if path.is_file()))
