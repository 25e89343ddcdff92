"""All N steps read one captured set: nothing to copy between steps, and one step's memory."""

import torch

from ..config import TABLES, ForwardMode, NSAConfig
from ..metadata import CONSTANTS, NSAMetadata, allocate
from ..plan import CopyPlan
from .base import Captured, Refused
from .copy import Copy
from .fused import Fused
from .graph import Graph


class _OneSet:
    """Shares what is equal among steps. Valid while the steps run in order and only read their metadata.

    Without a step offset that is the whole set. With one it is the tables and the sparse FlashMLA schedule: lengths
    and what follows from them differ from step to step, so each step keeps its own.
    """

    standing = "new: past the copies"

    @classmethod
    def allocate(
        cls, config: NSAConfig, req_to_token: torch.Tensor, bs: int, mode: ForwardMode, num_steps: int
    ) -> list[NSAMetadata]:
        first = allocate(config, req_to_token, bs, mode)
        if not config.step_offset:
            return [first] * num_steps
        return [first] + [allocate(config, req_to_token, bs, mode, tables_of=first) for _ in range(num_steps - 1)]

    def __init__(self, captured: Captured) -> None:
        _require_shared(captured)
        super().__init__(captured)


class Shared(_OneSet, Copy):
    name = "shared"

    def execute(self, plans: list[CopyPlan]) -> dict[str, int]:
        once = {dst.data_ptr(): (dst, src) for plan in plans for dst, src in plan}
        return super().execute([list(once.values())])


class SharedFused(_OneSet, Fused):
    name = "shared+fused"


class SharedGraph(_OneSet, Graph):
    name = "shared+graph"


def _require_shared(captured: Captured) -> None:
    """Adopted sets must be one where values are equal, and N where they are not."""
    offset = captured.config.step_offset
    for name, steps in _distinct(captured.sets).items():
        own = offset and name not in TABLES
        if steps != (len(captured.sets) if own else 1):
            wanted = f"one per step, since step_offset is {offset}" if own else "one for all steps"
            raise Refused(
                f"{name}: {steps} different buffers for {len(captured.sets)} steps; sharing needs "
                f"{wanted}. Adopt such objects, or use a strategy that does not share"
            )


def _distinct(sets: list[NSAMetadata]) -> dict[str, int]:
    """How many different buffers the steps have of each field a replay writes."""
    written = [n for n in sets[0].tensors() if n not in CONSTANTS and not n.startswith("flashmla")]
    return {name: len({s.tensors()[name].data_ptr() for s in sets}) for name in written}
