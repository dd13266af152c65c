"""The runs that train a script's calls of `fit` before the judged one."""

from __future__ import annotations

from orchestrator.errors import SpecError
from orchestrator.spec.run import RunSpec
from orchestrator.spec.validation import validated


def before_judged(spec: RunSpec) -> tuple[RunSpec, ...]:
    """The runs of the script's earlier fits, in order: in the mode of `spec`, with what the script gives to each.

    Target, learning rate, batch size and budget of `spec` are the judged fit's.

    Raises:
        SpecError: a fit cannot be trained so; says which.
    """
    own = {"target": None, "samples": None, "learning_rate": None, "learning_rate_scale": 1.0, "eval_every": None}
    alone = {"ends_at_fit": True, "files_apart": True, "earlier_fits": (), "out": None, "run_id": None}
    alone |= {"mlflow": None, "wandb": None}
    shared = spec.model_dump() | own | alone
    found = []
    for number, fit in enumerate(spec.earlier_fits, 1):
        params = {"params": {**spec.params, "fit": number}, "variant": f"{spec.variant_name} fit {number}"}
        try:
            found.append(validated(type(spec), shared | params | fit.model_dump(exclude={"line"})))
        except SpecError as error:
            problem = error.message.removeprefix(f"{error.field}: ")
            raise SpecError(error.field, f"in fit {number} ({fit.line}): {problem}") from None
    return tuple(found)
