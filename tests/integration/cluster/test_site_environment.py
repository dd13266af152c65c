"""Environments that sites have: training is what it is without them."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from jobs.api import DataContext
from jobs.loading import load_job_class
from tests.integration.local_runs import JOBS, train
from tests.marked import slow

BATCH, STEPS = 16, 20
SITES = {
    "proxy": {"no_proxy": "localhost,127.0.0.1"},
    "proxy for all": {"no_proxy": ""},
    "keras": {"TF_USE_LEGACY_KERAS": "1", "KERAS_BACKEND": "jax"},
    "cluster": {"TF_CONFIG": '{"cluster": {"worker": ["127.0.0.1:1"]}, "task": {"type": "worker", "index": 0}}'},
    "threads": {"TF_NUM_INTRAOP_THREADS": "1", "TF_NUM_INTEROP_THREADS": "1", "OMP_NUM_THREADS": "1"},
    "locale": {"LC_ALL": "C", "LANG": "C", "PYTHONIOENCODING": "ascii"},
    "home": {"HOME": "/dev/null/home", "KERAS_HOME": "/dev/null/keras"},
    "grpc": {"GRPC_VERBOSITY": "error", "GRPC_ENABLE_FORK_SUPPORT": "1", "GRPC_DNS_RESOLVER": "native"},
    "cuda": {"CUDA_VISIBLE_DEVICES": "", "CUDA_CACHE_DISABLE": "1", "CUDA_DEVICE_ORDER": "PCI_BUS_ID"},
    "ray": {"RAY_ADDRESS": "127.0.0.1:1", "RAY_BACKEND_LOG_LEVEL": "warning", "RAY_DEDUP_LOGS": "0"},
    "tensorflow": {
        "TF_CPP_MIN_LOG_LEVEL": "1",
        "TF_ENABLE_ONEDNN_OPTS": "1",
        "TF_DETERMINISTIC_OPS": "1",
        "PYTHONWARNINGS": "ignore",
    },
}
OVERRIDDEN = ("proxy", "proxy for all", "keras", "cluster", "threads")
"""Sites with variables that tasks get with another value; docs/jobs.md has the table."""
EVERYTHING = " and ".join(sorted(SITES.keys() - {"proxy for all"}))


@pytest.fixture
def silent_proxy() -> Iterator[str]:
    """A proxy that accepts connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"


@pytest.mark.parametrize(
    ("mode", "site"), [slow("sync", EVERYTHING), ("async", EVERYTHING), slow("async", "proxy for all")]
)
def test_it_trains_as_elsewhere(
    mode: str, site: str, silent_proxy: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import keras

    for one in site.split(" and "):
        for name, value in SITES[one].items():
            monkeypatch.setenv(name, value)
    if "proxy" in site:
        for name in ("http_proxy", "https_proxy", "grpc_proxy"):
            monkeypatch.setenv(name, silent_proxy)
    taken = {name: value for one in site.split(" and ") if one not in OVERRIDDEN for name, value in SITES[one].items()}
    workers = 2 if mode == "sync" else 1
    batch = BATCH * workers
    spec = {"mode": mode, "workers": workers, "batch_size": BATCH, "samples": STEPS * batch, "params": {"taken": taken}}
    trained = train("sited.py:Sited", folder=tmp_path, **spec)[0]

    job = load_job_class("exact.py", str(JOBS))()
    keras.utils.set_random_seed(0)
    model = job.build_model()
    model.fit(job.train_dataset(DataContext(batch)).take(STEPS), verbose=0)
    for mine, other in zip(trained.final.weights, model.get_weights(), strict=True):
        np.testing.assert_allclose(mine, other, rtol=1e-5, atol=1e-6)
