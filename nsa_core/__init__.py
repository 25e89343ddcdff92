"""Replay metadata for native sparse attention: compute it once, refresh every captured draft step."""

from .audit import audit
from .batch import ReplayBatch
from .config import NSAConfig
from .flashmla import schedule_flashmla
from .metadata import NSAFlashMLAMetadata, NSAMetadata, PrecomputedMetadata
from .modes import ForwardMode
from .multistep import MultiStepBackend
from .page_table import transform_page_table
from .plan import copy_plan
from .precompute import precompute
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
