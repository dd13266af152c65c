"""What a cluster can never hold is refused before it is submitted."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from orchestrator.errors import ResourcesError
from orchestrator.spec.comparison import CompareSpec
from orchestrator.spec.run import RunSpec
from orchestrator.submit.room import refuse_what_never_fits

pytestmark = pytest.mark.unit


class Answer:
    def __init__(self, document: Any) -> None:
        self._document = document

    def json(self) -> Any:
        if self._document is None:
            raise ValueError("no JSON")
        return self._document


def node(cpus: float, state: str = "ALIVE", **labels: str) -> dict[str, Any]:
    total = {"CPU": cpus, "memory": float(8 << 30), "node:192.0.2.1": 1.0}
    return {"node_id": f"n{cpus}", "node_name": "a", "node_ip": "192.0.2.1", "state": state} | {
        "resources_total": total,
        "labels": labels,
    }


def dashboard(*listed: Any) -> Callable[[str], Any]:
    def get(path: str) -> Answer:
        assert path.startswith("/api/v0/nodes?")
        return Answer({"result": True, "data": {"result": {"total": len(listed), "result": list(listed)}}})

    return get


def spec(**fields: Any) -> RunSpec:
    return RunSpec.make({"job": "digits", "mode": "sync", "workers": 2, "address": "auto", **fields})


def test_a_run_needs_its_cpus_on_nodes_that_live() -> None:
    refuse_what_never_fits(spec(), dashboard(node(2), node(1)))
    with pytest.raises(ResourcesError, match=r"2 worker, 1 evaluator need 3 CPUs, and the cluster has 2\."):
        refuse_what_never_fits(spec(), dashboard(node(2), node(9, "DEAD")))


def test_a_run_that_may_begin_with_fewer_workers() -> None:
    refuse_what_never_fits(spec(workers=8, min_workers=1), dashboard(node(2)))
    with pytest.raises(ResourcesError, match="8 worker"):
        refuse_what_never_fits(spec(workers=8), dashboard(node(2)))


def test_labels_and_each_variant_count() -> None:
    with pytest.raises(ResourcesError):
        refuse_what_never_fits(spec(worker_labels={"zone": "b"}), dashboard(node(8, zone="a")))
    fields = {"job": "digits", "workers": 2, "modes": ["single", "async"], "seeds": [0], "address": "auto"}
    compared = CompareSpec.make(fields)
    refuse_what_never_fits(compared, dashboard(node(5)))
    with pytest.raises(ResourcesError, match="1 chief"):
        refuse_what_never_fits(compared, dashboard(node(3)))


@pytest.mark.parametrize(
    "document", [None, [], {}, {"data": None}, {"data": {"result": {"result": [{"state": 1}, 2]}}}]
)
def test_a_dashboard_that_does_not_tell_refuses_nothing(document: Any) -> None:
    refuse_what_never_fits(spec(workers=50), lambda _: Answer(document))


def test_nor_does_one_that_is_not_reached() -> None:
    def get(_: str) -> Any:
        raise RuntimeError("Request failed with status code 403")

    refuse_what_never_fits(spec(workers=50), get)
