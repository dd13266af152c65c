"""What one run measured, as names and values for a reader."""

from __future__ import annotations

from orchestrator import text
from orchestrator.report.recovery import UNDER_WAY
from orchestrator.report.spending import spending_text
from orchestrator.results import EarlierFit, RunResult

_IN_WORDS = {"budget": "all its samples are trained", "target": "reached its target"}


def run_facts(result: RunResult) -> list[tuple[str, str]]:
    """Names and values of everything that the run measured, or should have measured."""
    of_variant = f"{result.variant}: " if result.variant not in (None, result.mode) else ""
    tasks = ", ".join(
        f"{count} ps" if kind == "ps" else text.plural(count, kind) for kind, count in result.tasks.items()
    )
    reason = _IN_WORDS.get(result.stop_reason or "", result.stop_reason)
    ended = result.status + (f" ({reason})" if reason not in (None, "", result.status) else "")
    ended = "not yet" if result.stop_reason == UNDER_WAY else ended
    clock, rate, stale = result.seconds, result.throughput, result.staleness
    passes = (
        f" ({result.samples / result.samples_per_epoch:.3g} epochs)"
        if result.samples_per_epoch and result.samples
        else ""
    )
    trained = f"{_count(result.steps)} steps, {_count(result.samples)} samples{passes} in {text.seconds(clock.spent)}"
    before = f"launch {text.seconds(clock.launch)}, first step after {text.seconds(clock.to_first_step)}"
    facts = [
        ("job", result.job),
        ("mode", f"{of_variant}{result.mode}, seed {result.seed}, {tasks}"),
        ("ended", ended),
        ("trained", trained),
        ("time", spending_text(result)),
        ("speed", f"{text.number(rate.samples_per_s)} samples/s, {text.number(rate.steps_per_s)} steps/s"),
        ("before training", before),
    ]
    facts += [(f"fit {one.fit}, before", _earlier(one)) for one in result.earlier_fits]
    if result.shares is not None:
        of_workers = ", ".join(f"worker:{index} {share}" for index, share in enumerate(result.shares))
        facts.append(("shares", f"{of_workers} of the {sum(result.shares)} samples of a step"))
    if result.target is not None:
        facts.append(("target", target_text(result)))
    facts.append(("final", ", ".join(f"{name} {text.number(value)}" for name, value in result.final.items()) or "-"))
    if stale is not None:
        spread = f"mean {stale.mean:.2f}, median {stale.p50:g}, 95 % under {stale.p95:g}, most {stale.max:g}"
        facts.append(("staleness", f"{spread} updates"))
    if result.dropped_gradients and result.steps:
        wasted = result.dropped_gradients / result.steps
        told = f"{text.plural(result.dropped_gradients, 'gradient')} in no update: {100 * wasted:.1f} % of the samples"
        facts.append(("dropped", told))
    if result.stability.jitter is not None:
        facts.append(("jitter", f"{100 * result.stability.jitter:.1f} % of the loss"))
    if (noise := result.stability.gradient_noise) is not None:
        of = f"(over {noise.steps:,} steps): smaller batches are mostly noise, larger ones waste samples"
        facts.append(("gradient noise", f"a batch of {text.number(noise.batch)} samples {of}"))
    if result.cost is not None:
        facts.append(("cost", text.dollars(result.cost)))
    facts += [("cpu", _use(result)), ("gpu", _gpu(result))]
    facts += [(found.kind, f"{found.symptom} {found.evidence}".strip()) for found in result.stability.findings]
    facts += [("failure", f"{f.task}, attempt {f.attempt}: {f.summary}") for f in result.failures]
    return facts


def _earlier(fit: EarlierFit) -> str:
    passes = f" ({fit.epochs:.3g} epochs)" if fit.epochs else ""
    loss = "" if fit.loss is None else f", loss {text.number(fit.loss)}"
    spent = f"{text.seconds(fit.elapsed)}, {text.seconds(fit.total)} with its launch"
    return f"{fit.line}, {fit.mode}, {fit.status}: {_count(fit.samples)} samples{passes} in {spent}{loss}"


def target_text(result: RunResult) -> str:
    target = result.target
    if target is None:
        return text.MISSING
    goal = f"{target.metric} {target.op} {target.value:g}"
    if not target.reached:
        return f"{goal} not reached"
    reached = f"{goal} reached in {text.seconds(target.seconds)}, {_count(target.samples)} samples"
    if not target.further_samples:
        return reached
    return f"{reached}; trained on for {text.seconds(target.further_seconds)}, {target.further_samples:,} samples"


def _count(value: int | None) -> str:
    return text.MISSING if value is None else f"{value:,}"


def _use(result: RunResult) -> str:
    """`worker:0 87 %, 0.6 GiB; ...`."""
    used = result.utilization
    parts = []
    for task, percent in used.cpu_percent.items():
        share = "not measured" if percent is None else f"{percent:.0f} %"
        parts.append(f"{task} {share} {text.gibibytes(used.rss_bytes.get(task))}".replace(" -", ""))
    return "; ".join(parts) or "not measured"


def _gpu(result: RunResult) -> str:
    used = result.utilization
    if used.gpu_percent:
        known = {task: value for task, value in used.gpu_percent.items() if value is not None}
        return "; ".join(f"{task} {value:.0f} %" for task, value in known.items()) or "not measured"
    return text.unavailable([used.gpu_note])
