"""Precompute once, then hand the plan of all steps to one `torch._foreach_copy_`."""

import torch

from ..plan import CopyPlan
from .base import PlanStrategy


class Foreach(PlanStrategy):
    name = "foreach"
    standing = "alternative that was not tried in 2025"

    def execute(self, plans: list[CopyPlan]) -> dict[str, int]:
        pairs = [pair for plan in plans for pair in plan]
        torch._foreach_copy_([dst for dst, _ in pairs], [src for _, src in pairs])
        return {"foreach_copy_": 1}
