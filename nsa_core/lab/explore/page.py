"""What the front ends need where there is no kernel: a static page that was built from the stored notebooks."""

from ...strategies import REGISTRY
from .setup import Batch, Setup


def setup_values(setup: Setup) -> dict:
    """A setup as front/rules.js takes it."""
    names = ("fixed_width", "bs", "width", "page_size", "topk", "draft_tokens", "steps", "tables", "strategy")
    contract, shares = REGISTRY[setup.strategy].contract, setup.strategy.startswith("shared")
    values = {name: getattr(setup, name) for name in names} | {"mode": setup.mode.value, "contract": contract}
    return values | {"sets": 1 if shares else setup.steps}


def batch_values(batch: Batch) -> dict:
    """A batch as front/rules.js takes it."""
    given = {"lengths": batch.lengths, "accepts": batch.accepts, "rows": batch.rows, "people": batch.people}
    return given | {"table": batch.table.tolist()}
