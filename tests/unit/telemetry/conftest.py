"""Fixtures: the NVML stand-in, compiled once per session and loaded by the real pynvml, and child processes."""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.unit.telemetry.nvml_world import TWO_GPUS, StandIn

SOURCE = Path(__file__).with_name("nvml_stand_in.c")


@pytest.fixture(scope="session")
def compile_nvml(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Compiles the stand-in with any soname and without the functions named in `absent`."""
    compiler = shutil.which("gcc") or shutil.which("cc")
    folder = tmp_path_factory.mktemp("nvml")
    built: dict[tuple[str, ...], Path] = {}

    def build(*absent: str, soname: str = "stand_in.so") -> Path:
        if compiler is None:
            pytest.skip("no C compiler: neither gcc nor cc is on PATH")
        key = (soname, *absent)
        if key not in built:
            target = folder / str(len(built))
            target.mkdir()
            renamed = [f"-D{function}=absent_{function}" for function in absent]
            options = ["-shared", "-fPIC", "-Wall", "-Wextra", "-Werror", f"-Wl,-soname,{soname}"]
            subprocess.run(
                [compiler, *options, *renamed, "-o", str(target / soname), str(SOURCE)], check=True, timeout=60
            )
            built[key] = target / soname
        return built[key]

    return build


@pytest.fixture
def load_nvml(compile_nvml: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> Callable[[Path], None]:
    """Makes pynvml call a library, for this test only.

    The library must not have NVML's soname: the loader would keep it for all later tests of the process.
    """
    import pynvml

    def load(library: Path) -> None:
        monkeypatch.setattr(pynvml, "nvmlLib", ctypes.CDLL(str(library)))
        monkeypatch.setattr(pynvml, "_nvmlGetFunctionPointer_cache", {})

    return load


@pytest.fixture
def stand_in(
    compile_nvml: Callable[..., Path],
    load_nvml: Callable[[Path], None],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[StandIn]:
    """The stand-in, which plays two H100s to pynvml."""
    load_nvml(compile_nvml())
    world = StandIn(tmp_path / "nvml.values")
    monkeypatch.setenv("NVML_STAND_IN", str(world.values))
    world.play(TWO_GPUS)
    yield world
    world.play("")  # ends every blocked call


@pytest.fixture
def nvml_environment(compile_nvml: Callable[..., Path], tmp_path: Path) -> Callable[[str], dict[str, str]]:
    """The environment of a process in which the loader finds the stand-in as `libnvidia-ml.so.1`."""

    def environment(text: str) -> dict[str, str]:
        library = compile_nvml(soname="libnvidia-ml.so.1")
        world = StandIn(tmp_path / "process.values")
        world.play(text)
        hidden = {"CUDA_VISIBLE_DEVICES", "CUDA_DEVICE_ORDER"}
        kept = {name: value for name, value in os.environ.items() if name not in hidden}
        return {**kept, "LD_LIBRARY_PATH": str(library.parent), "NVML_STAND_IN": str(world.values)}

    return environment


@pytest.fixture
def spawn() -> Iterator[Callable[[str], subprocess.Popen[str]]]:
    started: list[subprocess.Popen[str]] = []

    def start(code: str) -> subprocess.Popen[str]:
        options: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        process = subprocess.Popen([sys.executable, "-S", "-c", code], **options)
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()
