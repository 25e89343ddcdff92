"""What the front ends need where there is no kernel: a static page that was built from the stored notebooks.

A widget's stored output keeps in its metadata what `front_metadata` gives: a module of front/, its model's values.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, replace
from functools import lru_cache
from itertools import product

import torch

from ...config import ForwardMode
from ...strategies import REGISTRY, strategies
from ..trace import PagePool
from .scene import runs
from .session import MODES, SHOWN, TABLE_CHOICES, View, controls
from .setup import Batch, Setup
from .story import Roster
from .traffic import Traffic

METADATA = "nsa_front"
# Set for `jupyter nbconvert --execute --to html`: nbconvert prefers a widget to its still picture, and has no kernel.
STILL = "NSA_CORE_STILL"


def front_metadata(module: str, model: dict) -> dict:
    """Metadata of an output: the module of front/ that draws it, and what its model holds, as one line of JSON."""
    return {METADATA: {"module": module, "model": json.dumps(model, separators=(",", ":"))}}


def page_model(stored: dict) -> dict:
    """What site.js makes a model of, from an output's metadata."""
    model = json.loads(stored["model"])
    whole = explorer_model(model) if stored["module"] == "explorer" else model
    return whole | {"module": stored["module"]}


def explorer_values(setup: Setup, rosters: Sequence[Roster], recorded: Sequence[Batch], at: int) -> dict:
    """An explorer as its output stores it: what `explorer_model` builds its page from."""
    values = {"setup": setup_values(setup), "at": at}
    if recorded:
        return values | {"recorded": [batch_values(batch) | {"table": runs(batch.table)} for batch in recorded]}
    return values | {"rosters": [[asdict(request) for request in roster] for roster in rosters]}


def explorer_model(stored: dict) -> dict:
    """What front/play.js takes, from what an explorer's output stores."""
    setup = setup_of(stored["setup"])
    sizes = [] if "recorded" in stored else [1, 2, 4, 8, setup.page_size]
    return stored | {
        "controls": _controls(setup, "recorded" in stored),
        "modes": {
            name: {"mode": change["mode"].value, "fixed_width": change["fixed_width"]}
            for name, (_, change) in MODES.items()
        },
        "tables": TABLE_CHOICES,
        "strategies": {
            name: {"contract": REGISTRY[name].contract, "sets": _sets(name, setup.steps)} for name in SHOWN
        },
        "pages": {str(size): _pages(replace(setup, page_size=size)) for size in sizes},
        "counts": _counts(setup.bs, setup.draft_tokens, setup.steps),
    }


def setup_values(setup: Setup) -> dict:
    """A setup as front/rules.js takes it."""
    names = ("fixed_width", "bs", "width", "page_size", "topk", "draft_tokens", "steps", "tables", "strategy")
    values = {name: getattr(setup, name) for name in names} | {"mode": setup.mode.value}
    return values | {"contract": REGISTRY[setup.strategy].contract, "sets": _sets(setup.strategy, setup.steps)}


def setup_of(values: dict) -> Setup:
    """`setup_values` undone; on the CPU."""
    own = {name: value for name, value in values.items() if name not in ("contract", "sets", "mode", "tables")}
    return Setup(mode=ForwardMode(values["mode"]), tables=tuple(values["tables"]), **own)


def batch_values(batch: Batch) -> dict:
    """A batch as front/rules.js takes it."""
    given = {"lengths": batch.lengths, "accepts": batch.accepts, "rows": batch.rows, "people": batch.people}
    return given | {"table": batch.table.tolist()}


def _sets(strategy: str, steps: int) -> int:
    return 1 if strategy.startswith("shared") else steps


def _controls(setup: Setup, recorded: bool) -> list[dict]:
    """The session's own controls; a rule needs no GPU and no Triton, so that every strategy can be chosen."""
    shown = controls(View(setup, ()), strategies("cpu"), recorded)
    return [control | {"options": [option | {"why": None} for option in control["options"]]} for control in shown]


def _pages(setup: Setup) -> list[int]:
    """Free pages before the first request, the last is handed out first."""
    pool = PagePool(setup.bs + 1, setup.width, setup.page_size, None, "cpu")
    pool.reset(seed=1)
    return pool.free()


@lru_cache
def _counts(bs: int, draft_tokens: int, steps: int) -> dict[str, tuple[int, int]]:
    """Launches and copies of one replay, by strategy, mode, tables and whether pages have one token."""
    sizes, counts = {"bs": bs, "draft_tokens": draft_tokens, "steps": steps}, {}
    for strategy, mode, tables, page_size in product(SHOWN, MODES, TABLE_CHOICES, (1, 2)):
        own = {"tables": TABLE_CHOICES[tables], "page_size": page_size, "strategy": strategy} | MODES[mode][1]
        known = (1, 0) if REGISTRY[strategy].needs_triton else _counted(Setup(**sizes, **own))
        counts[f"{strategy} {mode} {tables} {str(page_size == 1).lower()}"] = known
    return counts


def _counted(setup: Setup) -> tuple[int, int]:
    lengths = tuple(setup.draft_tokens + i % 3 for i in range(setup.bs))
    batch = Batch(lengths, (1,) * setup.bs).padded(setup)
    backend = setup.backend(torch.zeros(setup.bs + 1, setup.width, dtype=torch.int32))
    backend.capture(setup.bs, setup.mode)
    with Traffic() as traffic:
        backend.replay(batch, setup.mode)
    return traffic.cost.launches, traffic.cost.copies
