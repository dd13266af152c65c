"""Settings of a run that are valid alone but not together."""

from __future__ import annotations

from orchestrator.errors import SpecError
from workers.modes.registry import fewest_workers, number_in, stages, traits
from workers.settings import ReplicaSettings


def check_local(address: str | None, gpus_per_worker: int) -> None:
    """Raises SpecError for what the local backend cannot do."""
    if address is not None:
        raise SpecError("backend", f"local does not work with address {address}: leave one of them out")
    if gpus_per_worker:
        raise SpecError("backend", "local does not assign GPUs to workers: use ray")


def check_devices(settings: ReplicaSettings) -> None:
    """Raises SpecError if a worker has more or fewer GPUs than its replicas can use."""
    given, each = settings.gpus_per_worker, settings.devices_per_replica
    if each > 1 and given not in (0, each):
        raise SpecError(
            "gpus_per_worker",
            f"{given} does not work with a model on {each} devices: give {each}, or 0 for CPUs",
        )
    if traits(settings.mode).one_device and given > each:
        raise SpecError(
            "gpus_per_worker",
            f"{given} does not work with mode {settings.mode}, whose workers train on one device each: give each GPU a "
            "worker of its own",
        )


def check_tasks(mode: str, servers: int, workers: int, fewest: int | None) -> None:
    """Raises SpecError if `mode` needs other numbers of parameter servers and workers, of which `fewest` may remain."""
    if traits(mode).chief and servers == 0:
        raise SpecError("ps", f"0 does not work with mode {mode}, which stores its weights there: give 1 or more")
    _check_spare(mode, workers, "workers")
    if fewest is None:
        return
    _check_spare(mode, fewest, "min_workers")
    if fewest > workers:
        raise SpecError("min_workers", f"{fewest} is more than workers, which is {workers}")


def _check_spare(mode: str, workers: int, field: str) -> None:
    """Raises SpecError if `mode` does without as many workers as `field` asks for, or more."""
    family = mode.partition(":")[0]
    if workers < fewest_workers(mode):
        spare, most = number_in(mode), f"{family}:{workers - 1} at most"
        raise SpecError(
            field, f"{workers} is too few for mode {mode}, which does without {spare}: give more, or {most}"
        )


def check_stages(settings: ReplicaSettings) -> None:
    """Raises SpecError if the mode changes on the way and no checkpoint could be the way."""
    if len(stages(settings.mode)) > 1 and settings.checkpoint_every is None and not settings.checkpoint_seconds:
        raise SpecError(
            "checkpoint_seconds",
            f"0 does not work with mode {settings.mode}, whose second group goes on from a checkpoint: leave it out",
        )


def check_balance(settings: ReplicaSettings) -> None:
    """Raises SpecError for what cannot be combined with `balance`."""
    if not traits(settings.mode).balances:
        raise SpecError("balance", f"does not work with mode {settings.mode}: leave it out")
    if settings.gpus_per_worker:
        raise SpecError("balance", "does not work with GPUs, whose steps the CPU cannot time: leave it out")
    if settings.sharding in ("file", "off"):
        raise SpecError("balance", f"does not work with sharding {settings.sharding}: it splits batches of one stream")
