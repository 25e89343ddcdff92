"""Precompute once, then one `.copy_()` per field and step: what the December 2025 decision kept."""

from ..plan import CopyPlan
from .base import PlanStrategy


class Copy(PlanStrategy):
    name = "copy"
    standing = "default: kept by the record's decision"

    def execute(self, plans: list[CopyPlan]) -> dict[str, int]:
        for plan in plans:
            for dst, src in plan:
                dst.copy_(src)
        return {"copy_": sum(map(len, plans))}
