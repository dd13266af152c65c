"""Shares the samples of a step among replicas."""

from __future__ import annotations

from orchestrator.errors import SpecError


def share(samples: int, replicas: int) -> int:
    """Samples of each replica's batch, if all of a step have `samples` together; raises SpecError for a remainder."""
    if samples % replicas:
        raise SpecError(
            "global_batch_size",
            f"{samples} cannot be shared equally by {replicas} replicas: give a multiple of {replicas}, or "
            "another number of workers",
        )
    return samples // replicas
