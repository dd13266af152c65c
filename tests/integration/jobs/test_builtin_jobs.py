"""Every built-in job in plain Keras: builds, takes a step, is evaluated; and what each promises."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from jobs.api import DataContext, Job
from jobs.catalog import CATALOG
from jobs.data.errors import DataFileError
from jobs.fashion_mnist import flip_and_shift
from jobs.linear import Linear
from jobs.loading import load_job_class, validate_params
from jobs.mnist_dnn import REUSED, MnistDnn
from jobs.quadratic import Quadratic
from jobs.resnet import ARCHITECTURES
from tests.marked import fast, slow

SYNTHETIC = {"data": "synthetic", "limit": 200}
PARAMS: dict[str, dict[str, Any]] = {
    "mnist-dnn": SYNTHETIC,
    "mnist-cnn": SYNTHETIC,
    "fashion-mnist": SYNTHETIC,
    "cifar10-cnn": SYNTHETIC,
    "resnet": {"arch": "MobileNetV2", "image_size": 32, "limit": 40},
}


def make(name: str, **params: Any) -> Job:
    job_class = load_job_class(name, ".")
    return job_class(validate_params(job_class, {**PARAMS.get(name, {}), **params}))


@pytest.mark.parametrize("name", fast(CATALOG, "digits", "mnist-cnn", "two-stage"))
def test_job_takes_a_step_and_is_evaluated(name: str) -> None:
    job = make(name)
    context = DataContext(batch_size=8, seed=1)
    model = job.build_model()
    assert model.compiled
    batch = next(iter(job.train_dataset(context)))
    before = [weight.copy() for weight in model.get_weights()]
    logs = model.train_on_batch(*batch, return_dict=True)
    assert np.isfinite(logs["loss"])
    assert any(not np.array_equal(a, b) for a, b in zip(before, model.get_weights(), strict=True))
    scores = model.evaluate(job.eval_dataset(context).take(2), verbose=0, return_dict=True)
    assert np.isfinite(scores["loss"])
    target = job.defaults.get("target")
    assert target is None or target.removeprefix("val_").split(">=")[0].split("<=")[0] in scores


@pytest.mark.parametrize("name", fast([name for name in CATALOG if name != "linear"], "digits", "mnist-cnn"))
def test_shards_are_one_epoch_without_loss_or_doubles(name: str) -> None:
    """`linear` is left out because every replica takes all five points in every step."""
    job = make(name)
    parts = [np.concatenate([x for x, _ in job.train_dataset(_shard(n)).as_numpy_iterator()]) for n in range(3)]
    whole = np.concatenate([x for x, _ in job.train_dataset(DataContext(7)).as_numpy_iterator()])
    if name == "fashion-mnist":  # augmented: no image comes back as it was
        assert sum(map(len, parts)) == len(whole)
    else:
        assert sorted(map(bytes, np.concatenate(parts))) == sorted(map(bytes, whole))


def _shard(index: int) -> DataContext:
    return DataContext(7, num_shards=3, shard_index=index)


@pytest.mark.parametrize("name", ["digits", slow("fashion-mnist")])
def test_order_follows_the_seed_and_changes_with_the_epoch(name: str) -> None:
    job = make(name)

    def epochs(seed: int) -> list[bytes]:
        dataset = job.train_dataset(DataContext(500, seed=seed))
        return [next(iter(dataset))[0].numpy().tobytes() for _ in range(2)]

    assert epochs(1) == epochs(1)
    assert len({*epochs(1), *epochs(2)}) == 4


def test_linear_ends_at_the_closed_form() -> None:
    import keras
    import tensorflow as tf

    keras.utils.set_random_seed(0)
    job = Linear()
    model = job.build_model()
    model.optimizer.build(model.trainable_variables)
    batch = next(iter(job.train_dataset(DataContext(job.defaults["batch_size"]))))

    @tf.function
    def train(steps: int) -> None:
        for _ in tf.range(steps):
            model.train_step(batch)

    train(tf.constant(10_000))
    kernel, bias = model.get_weights()
    assert kernel.item() == pytest.approx(2.98236, abs=1e-3)
    assert bias.item() == pytest.approx(2.07054, abs=1e-3)
    for loss in (model.evaluate(*batch, verbose=0), model.train_on_batch(*batch)):
        assert loss == pytest.approx(2.12941, abs=1e-3)


def test_quadratic_plots_its_curve(tmp_path: Path) -> None:
    job = Quadratic()
    page = job.plot(job.build_model(), tmp_path).read_text()
    assert all(name in page for name in ("x^2", "model", "data"))


@pytest.mark.parametrize("saved_as", ["model.keras", slow("model.weights.h5")])
@pytest.mark.parametrize("freeze", [True, False])
def test_mnist_dnn_reuses_and_freezes_the_first_layers(tmp_path: Path, saved_as: str, freeze: bool) -> None:
    first = make("mnist-dnn")
    earlier = first.build_model()
    path = tmp_path / saved_as
    (earlier.save_weights if saved_as.endswith(".h5") else earlier.save)(path)
    model = make("mnist-dnn", reuse=str(path), freeze=freeze).build_model()
    model.train_on_batch(*next(iter(first.train_dataset(DataContext(8)))))
    for old, new in zip(earlier.layers[1:], model.layers[1:], strict=True):
        same = all(np.array_equal(a, b) for a, b in zip(old.get_weights(), new.get_weights(), strict=True))
        assert same == (freeze and new.name in REUSED)


def test_mnist_dnn_names_a_file_that_is_no_such_model(tmp_path: Path) -> None:
    path = tmp_path / "digits.keras"
    make("digits").build_model().save(path)
    with pytest.raises(DataFileError, match="has no layer hidden1, hidden2, hidden3; it has dense"):
        MnistDnn(MnistDnn.Params(data="synthetic", reuse=str(path))).build_model()
    path.write_text("not a model")
    with pytest.raises(DataFileError, match="not a readable Keras"):
        MnistDnn(MnistDnn.Params(data="synthetic", reuse=str(path))).build_model()


def test_custom_loop_gives_the_same_loss_curve() -> None:
    import keras

    curves = {}
    for loop in ("fit", "custom"):
        keras.utils.set_random_seed(3)
        job = make("fashion-mnist", loop=loop)
        history = job.build_model().fit(job.train_dataset(DataContext(25, seed=3)), epochs=2, verbose=0)
        curves[loop] = history.history
    assert curves["fit"].keys() == curves["custom"].keys()
    np.testing.assert_allclose(curves["fit"]["loss"], curves["custom"]["loss"], rtol=1e-6)


@pytest.mark.parametrize("decay", ["schedule", slow("plateau")])
def test_fashion_mnist_callbacks_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, decay: str) -> None:
    monkeypatch.chdir(tmp_path)
    job = make("fashion-mnist", decay=decay, loop="custom", limit=50)
    data = job.train_dataset(DataContext(25))
    job.build_model().fit(data, validation_data=data, epochs=2, verbose=0, callbacks=job.callbacks())
    assert (tmp_path / "best.keras").is_file()


def test_augmentation_treats_each_image_by_itself_and_keeps_its_pixels() -> None:
    import tensorflow as tf

    image = np.zeros((28, 28, 1), np.float32)
    image[10:15, 5:9] = 1
    images, labels = flip_and_shift(tf.constant([1, 2], tf.int64), tf.stack([image] * 64), tf.range(64))
    assert images.shape == (64, 28, 28, 1)
    assert labels.numpy().tolist() == list(range(64))
    assert len({picture.tobytes() for picture in images.numpy()}) > 20
    assert set(images.numpy().sum(axis=(1, 2, 3))) == {20.0}


def test_architectures_are_all_that_keras_has() -> None:
    import keras

    functions = {name for name in dir(keras.applications) if name[0].isupper()}
    assert set(ARCHITECTURES) == functions


TWO_DEVICES = """
import tensorflow as tf
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
import keras, numpy as np
from jobs.api import DataContext
from jobs.linear import Linear
from jobs.two_stage import TwoStage

job = TwoStage()
assert job.devices() == ("CPU:0", "CPU:1"), job.devices()
model = job.build_model()
model.optimizer.build(model.trainable_variables)
for layer, device in (("stage1", "CPU:0"), ("stage2", "CPU:1"), ("output", "CPU:1")):
    for variable in model.get_layer(layer).variables:
        assert variable.value.device.endswith(device), (variable.path, variable.value.device)
batch = next(iter(job.train_dataset(DataContext(32))))
graph = tf.function(model.train_step).get_concrete_function(batch).graph
products = [op.device for op in graph.get_operations() if op.type == "MatMul" and "gradient" not in op.name]
assert [device[-5:] for device in products[:4]] == ["CPU:0", "CPU:0", "CPU:1", "CPU:1"], products
first = model.train_on_batch(*batch)
for _ in range(20):
    last = model.train_on_batch(*batch)
assert last[0] < first[0] / 2, (first, last)

def linear(strategy):
    with strategy.scope():
        keras.utils.set_random_seed(0)
        model = Linear().build_model()
        model.optimizer.build(model.trainable_variables)
    batch = next(iter(Linear().train_dataset(DataContext(5))))
    step = tf.function(lambda: strategy.run(model.train_step, args=(batch,)))
    logs = [step() for _ in range(3)][-1]
    loss = strategy.experimental_local_results(logs["loss"])[0]
    return [float(loss), *(float(np.squeeze(w)) for w in model.get_weights())]

one = linear(tf.distribute.get_strategy())
two = linear(tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"]))
np.testing.assert_allclose(one, two, rtol=1e-5)
"""


@pytest.mark.slow
def test_two_stage_on_two_devices_and_linear_on_two_replicas() -> None:
    """Runs in a process of its own, because logical devices can only be made before TensorFlow starts."""
    command = [sys.executable, "-c", TWO_DEVICES]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr[-2_000:]
