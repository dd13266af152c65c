"""report.html in a real browser: drawn, readable on a phone, in both themes, and silent towards the network."""

from __future__ import annotations

import importlib.util
import time
from pathlib import Path

import pytest

from orchestrator.report import write_reports
from orchestrator.results import Finding, Parts, Seconds, Stability
from tests.integration.chromium_pipe import Chromium
from tests.marked import slow
from tests.unit.stored_runs import store_comparison, store_run

HOSTILE = "<img src=http://evil.example/x onerror='window.hacked=1'><a href=http://evil.example>x</a>"
SECTIONS = (
    "verdict",
    "glance",
    "conditions",
    "learning",
    "time",
    "utilisation",
    "staleness",
    "stability",
    "runs",
    "repeat",
)


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two variants, three seeds, with host and GPU samples, and a finding."""
    folder = tmp_path_factory.mktemp("made") / "c"
    finding = Finding(kind="straggler", symptom="worker:1 runs 3.9x slower than the median", remedies=("use async",))
    for seed in range(3):
        for mode, longer in (("sync", 10.0), ("async", 4.0)):
            parts = Parts(compute=longer, callbacks=longer * 0.2, other=longer * 0.1)
            phases = Seconds(launch=3.0, to_first_step=8.0, training=longer * 1.1, elapsed=longer * 1.3, parts=parts)
            found = Stability(findings=(finding,) if mode == "sync" else ())
            store_run(
                folder, mode, seed, longer + seed / 10, hosts=True, gpu="NVIDIA H100", phases=phases, stability=found
            )
    write_reports(folder)
    return folder / "report.html"


@pytest.fixture(scope="module")
def hostile_report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("hostile") / "c"
    finding = Finding(kind=HOSTILE, symptom=HOSTILE, evidence=HOSTILE, causes=(HOSTILE,), remedies=(HOSTILE,))
    for mode in ("sync", HOSTILE.replace("/", "")):
        for seed in range(3):
            found = Stability(findings=(finding,))
            store_run(
                folder, mode, seed, 4.0 + seed, hosts=True, gpu=HOSTILE, job=HOSTILE, run_id=HOSTILE, stability=found
            )
    write_reports(folder)
    return folder / "report.html"


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1280])
def test_report_is_drawn_and_readable(browser: Chromium, report: Path, width: int, theme: str) -> None:
    assert report.stat().st_size < 1_500_000
    browser.open(report, width, theme=theme)
    assert browser.complaints == []
    assert browser.requests == []

    assert browser.evaluate("document.querySelectorAll('.chart').length") == 7
    drawn = browser.evaluate(
        "[...document.querySelectorAll('.chart')].map(c => [c.id, c.querySelectorAll("
        "'.scatterlayer path, .barlayer path').length, c.querySelector('.main-svg')?.clientWidth])"
    )
    assert all(paths > 0 and 0.75 * width - 200 < wide <= width for _, paths, wide in drawn), drawn

    text = browser.evaluate("document.body.innerText")
    assert "Use async: 2.5x sooner than sync" in text
    assert "worker:1 runs 3.9x slower than the median" in text
    assert "High confidence" in text or "Low confidence" in text
    assert all(browser.evaluate(f"document.getElementById('{name}').clientHeight > 0") for name in SECTIONS)
    assert browser.evaluate("document.documentElement.scrollWidth") <= width  # only tables scroll sideways
    assert browser.evaluate("parseFloat(getComputedStyle(document.querySelector('li')).fontSize)") >= 15


def test_charts_follow_the_window(browser: Chromium, report: Path) -> None:
    """Also the names at the ends of lines, which need a wide one."""
    widths = "[...document.querySelectorAll('.chart .main-svg:first-child')].map(s => s.clientWidth)"
    names = "document.querySelectorAll('#chart-training-loss .annotation-text').length"
    browser.open(report, 1280)
    wide = browser.evaluate(widths), browser.evaluate(names)
    for width in (390, 1280):
        browser.call("Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=False)
        deadline = time.monotonic() + 30
        while not all(width - 200 < each <= width for each in browser.evaluate(widths)):
            assert time.monotonic() < deadline, browser.evaluate(widths)
            browser.settle()
        if width == 390:
            assert browser.evaluate(names) == 0
            assert browser.evaluate("document.documentElement.scrollWidth") <= width
    assert (browser.evaluate(widths), browser.evaluate(names)) == wide
    assert wide[1] > 0


def test_ink_stands_out_from_the_ground_in_both_themes(browser: Chromium, report: Path) -> None:
    """The contrast that WCAG asks of text, for text, notes and the words of a chart."""
    for theme in ("light", "dark"):
        browser.open(report, 1280, theme=theme)
        ground = _rgb(browser.evaluate("getComputedStyle(document.body).backgroundColor"))
        inks = browser.evaluate(
            "['h2', 'li', 'figcaption', 'thead th', '.xtick text', '.badge'].map(s => { const e = "
            "document.querySelector(s), c = getComputedStyle(e); return s.includes('tick') ? c.fill : c.color })"
        )
        assert min(_contrast(_rgb(ink), ground) for ink in inks) >= 4.5, (theme, inks)


def test_theme_can_be_switched(browser: Chromium, report: Path) -> None:
    browser.open(report, 1280, theme="light")
    look = (
        "[document.body, document.querySelector('.xtick text')].map(e => getComputedStyle(e))"
        ".map(c => [c.backgroundColor, c.fill])"
    )
    before = browser.evaluate(look)
    assert browser.evaluate("document.getElementById('theme').innerText") == "Dark"
    browser.evaluate("document.getElementById('theme').click()")
    browser.settle()
    after = browser.evaluate(look)
    assert before[0][0] != after[0][0]
    assert before[1][1] != after[1][1]
    assert browser.evaluate("document.getElementById('theme').innerText") == "Light"
    browser.evaluate("document.getElementById('theme').click()")
    browser.settle()
    assert browser.evaluate(look) == before
    browser.evaluate("localStorage.clear()")
    assert browser.complaints == []


def test_charts_can_be_switched(browser: Chromium, report: Path) -> None:
    browser.open(report, 1280)
    title = "document.querySelector('#chart-evaluation .xtitle').textContent"
    values = "document.querySelector('#chart-evaluation .ytitle').textContent"
    assert (browser.evaluate(title), browser.evaluate(values)) == ("elapsed seconds", "val_accuracy")
    buttons = "[...document.querySelectorAll('#learning figure:nth-of-type(2) button')]"
    press = buttons + ".find(b => b.innerText === '{}').click()"
    browser.evaluate(press.format("Samples"))
    browser.evaluate(press.format("val_loss"))
    browser.settle()
    assert (browser.evaluate(title), browser.evaluate(values)) == ("samples", "val_loss")
    last = "Math.max(...document.querySelector('#chart-evaluation').data.flatMap(t => t.x))"
    assert browser.evaluate(last) == 10_000
    assert browser.complaints == []


def test_values_can_be_shown_on_a_logarithmic_axis(browser: Chromium, report: Path) -> None:
    browser.open(report, 1280)
    kind = "document.querySelector('#chart-{}').layout.yaxis.type"
    log = "document.querySelector('#chart-{}').closest('figure').querySelector('.scale button')"
    pressed = log + ".getAttribute('aria-pressed')"
    for chart, own, other in (("training-loss", "log", "linear"), ("evaluation", "linear", "log")):
        for expected in (own, other, own):
            browser.settle()
            assert (browser.evaluate(kind.format(chart)) or "linear") == expected
            assert browser.evaluate(pressed.format(chart)) == str(expected == "log").lower()
            browser.evaluate(log.format(chart) + ".click()")
    assert browser.complaints == []


def test_lines_can_be_smoothed(browser: Chromium, report: Path) -> None:
    browser.open(report, 1280)
    button = "document.querySelector('.smooth button')"
    losses = "document.getElementById('chart-training-loss').data.find(t => t.mode === 'lines' && !t.fill).y"
    rough = browser.evaluate(losses)
    browser.evaluate(f"{button}.click()")
    browser.settle()
    smooth = browser.evaluate(losses)
    assert smooth[10] == pytest.approx(sum(rough[8:13]) / 5)
    assert smooth[0] == pytest.approx(sum(rough[:3]) / 3)
    browser.evaluate(f"{button}.click()")
    browser.settle()
    assert browser.evaluate(losses) == rough
    assert browser.complaints == []


def test_many_variants_can_be_told_apart_and_hidden(browser: Chromium, tmp_path: Path) -> None:
    folder = store_comparison(tmp_path / "c", {f"variant-{i}": 4 + 0.7 * i for i in range(12)}, seeds=5)
    write_reports(folder)
    browser.open(folder / "report.html", 1280)
    names = "[...document.querySelectorAll('#chart-training-loss .annotation-text')].map(e => e.textContent)"
    assert len(set(browser.evaluate(names))) >= 10  # at the ends of lines, where there is room
    press = "[...document.querySelectorAll('.filter button')].find(b => b.innerText === 'variant-3').click()"
    traces = "[...new Set([...document.querySelectorAll('.chart')].flatMap(c => c.data || []).map(t => t.meta))]"
    assert "variant-3" in browser.evaluate(traces)
    browser.evaluate(press)
    browser.settle()
    assert "variant-3" not in browser.evaluate(traces)
    assert "variant-4" in browser.evaluate(traces)
    assert "variant-3" not in browser.evaluate(names)
    browser.evaluate(press)
    browser.settle()
    assert "variant-3" in browser.evaluate(traces)
    browser.open(folder / "report.html", 390)
    assert browser.evaluate(names) == []  # no room for them beside the lines
    assert browser.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert browser.complaints == []


@pytest.mark.parametrize("theme", ["light", slow("dark")])
def test_axe_finds_nothing_serious(browser: Chromium, report: Path, theme: str) -> None:
    """What keyboards and screen readers stumble over, by the rules of axe-core."""
    found = importlib.util.find_spec("axe_core_python")
    assert found is not None
    assert found.submodule_search_locations is not None
    axe = Path(found.submodule_search_locations[0], "axe.min.js").read_text()
    for width in (1280, 390):
        browser.open(report, width, theme=theme)
        browser.evaluate("[...document.querySelectorAll('details')].forEach(d => { d.open = true })")
        browser.evaluate(f"(() => {{ {axe}; return 1 }})()")
        violations = browser.evaluate(
            "axe.run().then(r => r.violations.filter(v => ['serious', 'critical'].includes(v.impact))"
            ".map(v => [v.id, v.nodes[0].html.slice(0, 200)]))"
        )
        assert violations == [], width


def test_tables_sort_by_number(browser: Chromium, report: Path) -> None:
    browser.open(report, 1280)
    title = "[...document.querySelectorAll('#runs th')].find(h => h.innerText.trim().startsWith('to target'))"
    column = "[...document.querySelectorAll('#runs tbody tr')].map(r => parseFloat(r.cells[3].innerText))"
    as_made = browser.evaluate(column)
    assert as_made != sorted(as_made)
    for order in ("ascending", "descending"):
        browser.evaluate(title + ".querySelector('button').click()")
        assert browser.evaluate(title + ".getAttribute('aria-sort')") == order
        assert browser.evaluate(column) == sorted(as_made, reverse=order == "descending")
    assert browser.complaints == []


def test_the_spec_can_be_copied(browser: Chromium, report: Path) -> None:
    browser.open(report, 1280)
    browser.evaluate("document.addEventListener('copy', () => { window.copied = String(getSelection()) })")
    browser.evaluate("navigator.clipboard && (navigator.clipboard.writeText = async (t) => { window.copied = t })")
    browser.evaluate("document.querySelector('#repeat .copy').click()")
    browser.settle()
    assert browser.evaluate("document.querySelector('#repeat .copy').innerText") == "Copied"
    assert "job: simulated" in browser.evaluate("window.copied")


@pytest.mark.parametrize("width", [390, 1280])
def test_nothing_is_clipped_and_nothing_overlaps(browser: Chromium, report: Path, width: int) -> None:
    browser.open(report, width)
    clipped = (
        "[...document.querySelectorAll('h1,h2,h3,p,li,dt,dd,th,td,summary,button,figcaption')]"
        ".filter(e => e.clientWidth && e.scrollWidth > e.clientWidth + 1).map(e => e.outerHTML.slice(0, 120))"
    )
    assert browser.evaluate(clipped) == []
    overlapping = (
        "[...document.querySelectorAll('main > *, section > *, .chart-head > *, nav > *')].flatMap(e => {"
        "  const next = e.nextElementSibling; if (!next) return [];"
        "  const a = e.getBoundingClientRect(), b = next.getBoundingClientRect();"
        "  return a.width && b.width && a.right > b.left + 1 && b.right > a.left + 1 && a.bottom > b.top + 1"
        "    && b.bottom > a.top + 1 ? [e.outerHTML.slice(0, 80) + next.outerHTML.slice(0, 80)] : [] })"
    )
    assert browser.evaluate(overlapping) == []
    # What scrolls can be reached by keyboard.
    assert browser.evaluate("[...document.querySelectorAll('pre, .scroll')].every(e => e.tabIndex === 0)")


def test_no_name_is_obeyed(browser: Chromium, hostile_report: Path) -> None:
    for width in (390, 1280):
        browser.open(hostile_report, width)
        assert browser.evaluate("window.hacked") is None
        assert (
            browser.evaluate(
                'document.querySelectorAll(\'img, iframe, a:not([href^="#"]):not([href^="runs/"])\').length'
            )
            == 0
        )
        assert browser.evaluate("document.querySelectorAll('svg a').length") == 0
        assert browser.complaints == []
        assert browser.requests == []
        assert "<img src=http://evil.example/x onerror=" in browser.evaluate("document.body.innerText")
        assert browser.evaluate("document.documentElement.scrollWidth") <= width
        # As Plotly's own text, not as markup.
        assert "<img" in browser.evaluate("document.getElementById('chart-timelines').textContent")


def test_policy_stops_what_was_smuggled_in(browser: Chromium, report: Path, tmp_path: Path) -> None:
    """Also the proof that the tests above would have seen a request or a complaint."""
    smuggled = "<script>window.hacked=1</script><img src='http://127.0.0.1:9/x' onerror='window.hacked=1'><main>"
    page = tmp_path / "smuggled.html"
    page.write_text(report.read_text().replace("<main>", smuggled, 1))
    browser.open(page, 1280)
    assert browser.evaluate("window.hacked") is None
    assert any("Content Security Policy" in complaint for complaint in browser.complaints)

    page.write_text("<html data-drawn=1><img src='http://127.0.0.1:9/x'></html>")
    browser.open(page, 1280)
    assert browser.requests == ["http://127.0.0.1:9/x"]


def _rgb(colour: str) -> tuple[float, ...]:
    return tuple(float(part) for part in colour.partition("(")[2].rstrip(")").split(",")[:3])


def _contrast(ink: tuple[float, ...], ground: tuple[float, ...]) -> float:
    def luminance(colour: tuple[float, ...]) -> float:
        shares = [c / 255 for c in colour]
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in shares]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    high, low = sorted((luminance(ink), luminance(ground)), reverse=True)
    return (high + 0.05) / (low + 0.05)
