"""Replay metadata for native sparse attention: compute it once, refresh every captured draft step."""

from .audit import audit
from .batch import ReplayBatch
from .config import ForwardMode, NSAConfig
from .metadata import NSAFlashMLAMetadata, NSAMetadata, PrecomputedMetadata
from .multistep import MultiStepBackend
from .plan import copy_plan
from .precompute import precompute, transform_page_table
from .schedules import schedule_flashmla
from .strategies import strategies

__version__ = "0.1.0"

__all__ = [
    "ForwardMode",
    "MultiStepBackend",
    "NSAConfig",
    "NSAFlashMLAMetadata",
    "NSAMetadata",
    "PrecomputedMetadata",
    "ReplayBatch",
    "audit",
    "copy_plan",
    "precompute",
    "schedule_flashmla",
    "strategies",
    "transform_page_table",
]
