"""`quadratic`: regression on a noisy parabola with one small hidden layer."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field

from jobs.api import DataContext, Job
from jobs.data import arrays

if TYPE_CHECKING:
    import keras
    import numpy as np
    import tensorflow as tf
    from numpy.typing import NDArray

    Points = tuple[NDArray[np.float32], NDArray[np.float32]]


class Quadratic(Job):
    """200 points of x^2 + noise on [-0.5, 0.5]; evaluated against the curve without noise."""

    class Params(Job.Params):
        hidden: int = Field(10, gt=0, description="tanh units")
        learning_rate: float = Field(0.1, gt=0, description="SGD's step size")
        noise: float = Field(0.02, ge=0, description="standard deviation of the noise on y")

    defaults: ClassVar[Mapping[str, Any]] = {
        "batch_size": 20,
        "samples": 400_000,
        "target": "val_loss<=0.0005",
    }

    def build_model(self) -> keras.Model:
        import keras

        model = keras.Sequential(
            [
                keras.Input((1,)),
                keras.layers.Dense(self.params.hidden, activation="tanh"),
                keras.layers.Dense(1, activation="tanh"),
            ]
        )
        model.compile(optimizer=keras.optimizers.SGD(self.params.learning_rate), loss="mean_squared_error")
        return model

    def train_dataset(self, context: DataContext) -> tf.data.Dataset:
        return arrays.batches(self.points(), context, train=True)

    def eval_dataset(self, context: DataContext) -> tf.data.Dataset:
        x, _ = self.points()
        return arrays.batches((x, x**2), context, train=False)

    def points(self) -> Points:
        """x and noisy y, float32 of shape (200, 1); the same in every run."""
        import numpy as np

        x = np.linspace(-0.5, 0.5, 200, dtype=np.float32)[:, None]
        noise = np.random.RandomState(0).normal(0, self.params.noise, x.shape).astype(np.float32)
        return x, x**2 + noise

    def after_training(self, model: keras.Model, directory: Path) -> None:
        self.plot(model, directory)

    def plot(self, model: keras.Model, directory: Path) -> Path:
        """Write `fitted_curve.html` into `directory`: the points, the parabola and the model."""
        from plotly import graph_objects

        x, y = self.points()
        fitted = model.predict_on_batch(x)
        figure = graph_objects.Figure(layout={"title": "quadratic: the fitted curve"})
        figure.add_scatter(x=x[:, 0], y=y[:, 0], mode="markers", name="data", opacity=0.5)
        figure.add_scatter(x=x[:, 0], y=x[:, 0] ** 2, mode="lines", name="x^2", line={"dash": "dot"})
        figure.add_scatter(x=x[:, 0], y=fitted[:, 0], mode="lines", name="model")
        path = directory / "fitted_curve.html"
        figure.write_html(path, include_plotlyjs=True)
        return path
