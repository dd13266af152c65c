"""Shares the samples of a step among replicas."""

from __future__ import annotations

from orchestrator.errors import SpecError


def share(samples: int, replicas: int) -> int:
    """Samples of each replica's batch, if all of a step have `samples` together; raises SpecError for a remainder."""
    if samples % replicas:
        near = replicas * max(1, samples // replicas)
        raise SpecError(
            "global_batch",
            f"{samples} samples of a step cannot be shared equally by {replicas} replicas: give --global-batch {near}, "
            "or another number of workers",
        )
    return samples // replicas
