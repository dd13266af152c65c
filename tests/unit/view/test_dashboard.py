"""The picture of a run fits its terminal, whatever the run and the terminal are."""

from __future__ import annotations

import io
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.console import Console

from orchestrator.view.board import CURVE_POINTS, Board, Curve, FindingLine, Rate
from orchestrator.view.dashboard import NARROW, WIDE, draw, duration, size, sparkline
from orchestrator.view.plots import plot

pytestmark = pytest.mark.unit


def lines(board: Board, width: int = 80, height: int = 24, *, plain: bool = False) -> list[str]:
    console = Console(file=io.StringIO(), width=width, height=height, color_system=None, legacy_windows=False)
    console.print(draw(board, width, height, plain=plain))
    text: str = console.file.getvalue()  # type: ignore[attr-defined]
    return text.splitlines()


def training(workers: int = 2) -> Board:
    board = Board("r", job="digits", variant="async", seed=3, target="val_accuracy>=0.95", phase="training")
    board.total_steps, board.global_batch, board.step, board.clock = 2000, 32, 500, 12.4
    for i in range(60):
        board.samples.add(i / 10, 320)
        board.loss.add(i / 10, 2.0 * 0.95**i)
    board.evaluation = {"val_loss": 0.21, "val_accuracy": 0.9312}
    tasks = ["chief:0", *(f"worker:{i}" for i in range(workers)), "ps:0", "evaluator:0"]
    for task in tasks:
        row = board.row(task)
        row.state, row.pid, row.cpu_percent, row.rss_bytes = "training", 4711, 71.4, 612 << 20
        row.net_per_s = 1.5 * 2**20
    row = board.row("worker:1")
    row.step, row.gpu_percent, row.gpu_memory_bytes, row.waiting = 250, 88.0, 21 << 30, 0.07
    for i in range(6):
        row.samples.add(i, 1000)
    board.findings = [FindingLine("spike", f"the loss jumped to {i}", "warned") for i in range(5)]
    board.notes = ["GPU: not available (NVML library not found)"]
    return board


def test_everything_at_80_by_24() -> None:
    shown = lines(training())
    assert len(shown) <= 24
    text = "\n".join(shown)
    assert shown[0].startswith("digits  async, seed 3")
    assert shown[0].rstrip().endswith("training  0:12")
    assert "25%  16,000 of 64,000 samples  3,200/s  ETA 0:15" in shown[1]
    assert "loss 0.09" in shown[2]
    assert "val_accuracy 0.9312 (>=0.95)" in shown[2]
    header = next(line for line in shown if line.startswith("TASK"))
    assert header.split() == ["TASK", "STATE", "STEP", "SAMPLES/S", "CPU", "MEM", "GPU", "NET/S"]
    worker = next(line for line in shown if line.startswith("worker:1"))
    assert worker.split() == ["worker:1", "training", "250", "1,000", "71%", "612M", "88%", "1.5M"]
    assert "-" in next(line for line in shown if line.startswith("worker:0")).split(), "not measured"
    assert "3 earlier findings" in text
    assert "! spike: the loss jumped to 4 (warned)" in text
    assert "NVML library not found" in text


def test_samples_before_another_mode_took_over_count_as_they_were() -> None:
    """500 steps of 64, and then 250 of 32; 750 of 32 are left."""
    board = training()
    board.steps_before, board.samples_before, board.total_steps, board.step = 500, 32_000, 1500, 750
    assert "62%  40,000 of 64,000 samples" in lines(board)[1]


def test_tall_has_curves_remedies_and_events() -> None:
    board = training()
    board.metric = "val_accuracy"
    for i in range(12):
        board.scores.add(i / 2, 0.98 - 0.5 * 0.7**i)
    board.findings[-1].remedy = "lower the learning rate"
    board.events.append("01:02:03 back to step 200")
    shown = lines(board, width=160, height=48)
    assert 30 < len(shown) <= 48
    text = "\n".join(shown)
    assert "training loss" in text
    assert "val_accuracy   " in text
    assert "  try: lower the learning rate" in text
    assert "01:02:03 back to step 200" in text
    first, last = (next(i for i, line in enumerate(shown) if number in line) for number in ("1.95 ", "0.0995 "))
    assert shown[first].count("█") < shown[last].count("█") == max(line.count("█") for line in shown)


@given(st.lists(st.floats(), max_size=40), st.integers(12, 90), st.integers(1, 20), st.booleans())
def test_any_curve_fits_its_plot(values: list[float], width: int, height: int, plain: bool) -> None:
    curve = Curve()
    for clock, value in enumerate(values):
        curve.add(float(clock), value)
    drawn = plot(curve, width, height, plain=plain)
    assert len(drawn) == height
    assert max(map(cell_len, drawn)) <= max(width, 11)


def test_tasks_can_be_scrolled() -> None:
    console = Console(file=io.StringIO(), width=80, height=24, color_system=None, legacy_windows=False)
    console.print(draw(training(workers=64), 80, 24, first=10))
    text: str = console.file.getvalue()  # type: ignore[attr-defined]
    assert "worker:9 " in text
    assert "worker:0 " not in text
    assert "10 of them above" in text


def test_wide_has_room_for_more() -> None:
    shown = lines(training(), width=140)
    header = next(line for line in shown if line.startswith("TASK"))
    assert header.split()[-5:] == ["INPUT", "WAIT", "GPU", "MEM", "PID"]
    assert next(line for line in shown if line.startswith("worker:1")).split()[-3:] == ["7%", "21G", "4711"]
    assert "val_loss 0.2100" in shown[2]


def test_narrow_leaves_out_what_matters_least() -> None:
    header = next(line for line in lines(training(), width=NARROW - 1) if line.startswith("TASK"))
    assert header.split() == ["TASK", "STATE", "STEP", "SAMPLES/S", "CPU"]


def test_more_tasks_than_rows_are_counted() -> None:
    shown = lines(training(workers=64))
    assert len(shown) <= 24
    assert any(line.startswith("+") and line.rstrip().endswith("more") for line in shown)
    order = [line.split()[0] for line in shown if ":" in line.split(" ")[0] and line[0] in "cwpe"]
    assert order[:3] == ["chief:0", "worker:0", "worker:1"]
    assert len(lines(training(workers=64), height=100)) > 70


def test_launching() -> None:
    board = Board("r", job="digits", variant="sync")
    assert "no task yet" in "\n".join(lines(board))
    board.row("worker:0").state = "starting"
    board.row("worker:1").state = "ready"
    assert "1 of 2 tasks not ready yet" in "\n".join(lines(board))


def test_over() -> None:
    board = training()
    board.phase, board.outcome = "succeeded", "done, reached val_accuracy>=0.95 in 3.20 s"
    shown = lines(board)
    assert board.outcome in shown[0]
    assert "ETA" not in shown[1]


def test_plain_is_ascii() -> None:
    assert all(line.isascii() for line in lines(training(), plain=True))
    assert not all(line.isascii() for line in lines(training()))


BOARDS = st.builds(
    Board,
    run_id=st.text(max_size=20),
    job=st.text(max_size=120),
    variant=st.text(max_size=60),
    target=st.none() | st.just("val_accuracy>=0.95") | st.text(max_size=40),
    phase=st.sampled_from(["launching", "training", "failed", "interrupted", "x" * 100]),
    total_steps=st.none() | st.integers(0, 10**12),
    step=st.integers(0, 10**12),
    clock=st.floats(0, 1e9),
    evaluation=st.dictionaries(st.text(max_size=30), st.floats(), max_size=4),
    findings=st.lists(
        st.builds(FindingLine, st.text(max_size=9), st.text(max_size=200), st.text(max_size=30)), max_size=9
    ),
    notes=st.lists(st.text(max_size=200), max_size=3),
    outcome=st.none() | st.text(max_size=200),
)


@given(BOARDS, st.integers(0, 40), st.lists(st.floats(), max_size=40), st.integers(20, 250), st.integers(10, 80))
@settings(deadline=None, max_examples=25)
def test_it_fits_whatever_it_shows(board: Board, tasks: int, losses: list[float], width: int, height: int) -> None:
    for i in range(tasks):
        row = board.row(f"worker:{i}")
        row.step, row.rss_bytes, row.cpu_percent = 10**i % 10**13, 1024**i % 2**60, 1e3
    for i, loss in enumerate(losses):
        board.loss.add(float(i), loss)
    shown = lines(board, width, height)
    assert len(shown) <= height
    assert max(map(cell_len, shown)) <= width


# Its parts.


def test_a_sparkline_falls_with_the_loss() -> None:
    assert sparkline([8.0, 4.0, 2.0, 1.0]) == "█▆▃▁"
    assert sparkline([1.0, math.nan, 1.0]) == "▁!▁"
    assert sparkline([-1.0, 0.0, 1.0]) == "▁▅█"
    assert sparkline([]) == ""
    assert sparkline([8.0, 1.0], plain=True) == "#_"


@given(st.lists(st.floats(), max_size=100))
def test_a_sparkline_has_a_character_for_each_value(values: list[float]) -> None:
    assert len(sparkline(values)) == len(values)


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0:00"), (59.6, "1:00"), (754, "12:34"), (3600, "1:00:00"), (90061, "25:01:01")]
)
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text


@given(st.none() | st.floats(0, 1e17))
def test_sizes_are_short(count: float | None) -> None:
    assert len(size(count)) <= 5
    assert size(612 << 20) == "612M"
    assert size(1.5 * 2**30) == "1.5G"
    assert size(0) == "0B"


def test_a_rate_is_of_the_last_seconds() -> None:
    rate = Rate()
    assert rate.per_second is None
    rate.add(0.0, 100)
    assert rate.per_second is None
    for i in range(1, 50):
        rate.add(i, 10)
    assert rate.per_second == pytest.approx(10)
    rate.add(0.5, 70)  # another leg, whose clock starts at zero
    rate.add(1.5, 70)
    assert rate.per_second == pytest.approx(70)


@given(st.lists(st.floats(0.1, 10), min_size=1, max_size=3000))
@settings(deadline=None, max_examples=20)
def test_a_curve_keeps_its_shape_in_bounded_memory(values: list[float]) -> None:
    curve = Curve()
    for i, value in enumerate(values):
        curve.add(float(i), value)
    assert len(curve._points) < CURVE_POINTS
    weights = [weight for _, _, weight in curve._points]
    assert sum(weights) == len(values)
    mean = sum(v * w for (_, v, _), w in zip(curve._points, weights, strict=True)) / len(values)
    assert mean == pytest.approx(sum(values) / len(values))
    columns = curve.columns(40)
    assert 1 <= len(columns) <= 40
    assert min(values) - 1e-9 <= min(columns) <= max(columns) <= max(values) + 1e-9


def test_the_wide_layout_needs_its_width() -> None:
    assert "PID" not in "\n".join(lines(training(), width=WIDE - 1))
    assert "PID" in "\n".join(lines(training(), width=WIDE))
