"""Settings of a run that are valid alone but not together."""

from __future__ import annotations

from orchestrator.errors import SpecError
from workers.modes.registry import traits
from workers.settings import ReplicaSettings


def check_local(address: str | None, gpus_per_worker: int) -> None:
    """Raises SpecError for what the local backend cannot do."""
    if address is not None:
        raise SpecError("backend", f"local does not work with address {address}: leave one of them out")
    if gpus_per_worker:
        raise SpecError("backend", "local does not assign GPUs to workers: use ray")


def check_balance(settings: ReplicaSettings) -> None:
    """Raises SpecError for what cannot be combined with `balance`."""
    if not traits(settings.mode).balances:
        raise SpecError("balance", f"does not work with mode {settings.mode}: leave it out")
    if settings.gpus_per_worker:
        raise SpecError("balance", "does not work with GPUs, whose steps the CPU cannot time: leave it out")
    if settings.sharding in ("file", "off"):
        raise SpecError("balance", f"does not work with sharding {settings.sharding}: it splits batches of one stream")
