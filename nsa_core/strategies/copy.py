"""Precompute once, then one `.copy_()` per field and step: what the decision of December 2025 kept."""

from ..plan import CopyPlan
from .base import PlanStrategy


class Copy(PlanStrategy):
    name = "copy"
    standing = "default: kept by the decision of December 2025"

    def execute(self, plans: list[CopyPlan]) -> dict[str, int]:
        for step, plan in enumerate(plans):
            self._copy_step(step, plan)
        return {"copy_": sum(map(len, plans))}
