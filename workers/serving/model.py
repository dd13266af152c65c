"""Loads a SavedModel, describes its signatures, and calls them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

_PROBED_ROWS = 3
_TOLERANCE = 1e-4


@dataclass
class Loaded:
    """A SavedModel in this process."""

    module: Any
    """What TensorFlow returned: the variables live as long as it does."""
    functions: dict[str, Any]
    signatures: dict[str, dict[str, Any]]
    """Per signature: `method`, `rows`, and `inputs` and `outputs` as name -> (dtype, shape or None, tensor)."""
    notes: list[str] = field(default_factory=list)

    def call(self, signature: str, inputs: Mapping[str, Any]) -> dict[str, Any]:
        """The outputs; raises what TensorFlow raises."""
        import tensorflow as tf

        types = self.signatures[signature]["inputs"]
        tensors = {name: tf.constant(array, tf.as_dtype(types[name][0])) for name, array in inputs.items()}
        return {name: output.numpy() for name, output in self.functions[signature](**tensors).items()}


def load(path: Path) -> Loaded:
    """Load the SavedModel in a folder, and call each signature once, so that the first request finds it warm.

    Raises:
        ValueError: it has no signature. TensorFlow raises errors of many types for what is not a SavedModel.
    """
    import tensorflow as tf
    from tensorflow.core.protobuf import saved_model_pb2

    document = saved_model_pb2.SavedModel()
    document.ParseFromString((path / "saved_model.pb").read_bytes())
    definitions = document.meta_graphs[0].signature_def
    module = tf.saved_model.load(str(path))
    loaded = Loaded(module, {}, {})
    for name, function in module.signatures.items():
        loaded.functions[name] = function
        loaded.signatures[name] = {
            "method": definitions[name].method_name,
            "rows": False,
            "inputs": {key: _type(info) for key, info in definitions[name].inputs.items()},
            "outputs": {key: _type(info) for key, info in definitions[name].outputs.items()},
        }
    if not loaded.functions:
        raise ValueError("it has no signature, so there is nothing to call")
    for name in loaded.functions:
        loaded.signatures[name]["rows"] = _independent_rows(loaded, name)
    return loaded


def _type(info: Any) -> tuple[str, tuple[int | None, ...] | None, str]:
    import tensorflow as tf

    shape = info.tensor_shape
    sizes = None if shape.unknown_rank else tuple(dim.size if dim.size >= 0 else None for dim in shape.dim)
    return tf.as_dtype(info.dtype).name, sizes, info.name


def _independent_rows(loaded: Loaded, name: str) -> bool:
    """Whether rows may be joined with those of other requests: tried out, since a signature does not say it."""
    signature = loaded.signatures[name]
    tensors = [*signature["inputs"].values(), *signature["outputs"].values()]
    if not all(shape and shape[0] is None for _, shape, _ in tensors):
        return False
    inputs = {key: _example(dtype, shape) for key, (dtype, shape, _) in signature["inputs"].items()}
    try:
        together = loaded.call(name, inputs)
        alone = [loaded.call(name, {key: rows[i : i + 1] for key, rows in inputs.items()}) for i in range(_PROBED_ROWS)]
    except Exception as error:  # noqa: BLE001 - the example may be nothing that the model takes
        loaded.notes.append(f"requests for {name} are not joined: it does not take an example: {_line(error)}")
        return False
    for key, output in together.items():
        joined = np.concatenate([one[key] for one in alone])
        if joined.shape != output.shape or not _close(joined, output):
            loaded.notes.append(f"requests for {name} are not joined: its {key} of a row depends on the other rows")
            return False
    return True


def _example(dtype: str, shape: tuple[int | None, ...]) -> Any:
    sizes = (_PROBED_ROWS, *(size or 1 for size in shape[1:]))
    if dtype == "string":
        return np.full(sizes, b"1", object)
    drawn = np.random.default_rng(0).random(sizes)
    if dtype.startswith(("int", "uint")):
        return (drawn * 2).astype(dtype)
    return drawn > 0.5 if dtype == "bool" else drawn.astype(np.float32 if dtype == "bfloat16" else dtype)


def _close(one: Any, other: Any) -> bool:
    if one.dtype.kind in "fc":
        return bool(np.allclose(one, other, _TOLERANCE, _TOLERANCE, equal_nan=True))
    return bool(np.array_equal(one, other))


def _line(error: BaseException) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"


def answer(loaded: Loaded, signature: str, inputs: Mapping[str, Any]) -> tuple[str, Any]:
    """`("OK", outputs)`, or the name of a gRPC status and a sentence: errors cross processes as data."""
    import tensorflow as tf

    try:
        return "OK", loaded.call(signature, inputs)
    except (tf.errors.InvalidArgumentError, tf.errors.OutOfRangeError, ValueError, TypeError) as error:
        return "INVALID_ARGUMENT", _line(error)
    except tf.errors.ResourceExhaustedError as error:
        return "RESOURCE_EXHAUSTED", _line(error)
    except tf.errors.UnimplementedError as error:
        return "UNIMPLEMENTED", _line(error)
    except Exception as error:  # noqa: BLE001 - whatever it is, the request has to be answered
        return "INTERNAL", _line(error)
