"""Precompute once, then one `.copy_()` per field and step: what the December 2025 decision kept."""

from ..plan import CopyPlan
from .base import PlanStrategy


class Copy(PlanStrategy):
    name = "copy"
    standing = "default: kept by the record's decision"

    def execute(self, plans: list[CopyPlan]) -> dict[str, int]:
        for step, plan in enumerate(plans):
            self._copy_step(step, plan)
        return {"copy_": sum(map(len, plans))}
