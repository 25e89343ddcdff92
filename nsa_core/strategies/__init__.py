"""The registry: which strategies there are, and whether they can run here."""

from dataclasses import dataclass

import torch

from .base import Strategy
from .batched import Batched, BatchedEach, BatchedSteps, BatchedStrided
from .copy import Copy
from .eager import Eager
from .foreach import Foreach
from .fused import Fused
from .graph import Graph
from .shared import Shared, SharedFused, SharedGraph

_COPYING = (Eager, Copy, Foreach, Batched, BatchedEach, BatchedStrided, BatchedSteps)
_PAST_COPYING = (Fused, Graph, Shared, SharedFused, SharedGraph)
REGISTRY: dict[str, type[Strategy]] = {cls.name: cls for cls in _COPYING + _PAST_COPYING}


@dataclass(frozen=True)
class StrategyInfo:
    """What a strategy is and whether this machine can run it; `reason` says what is missing when it cannot."""

    name: str
    standing: str
    contract: str
    needs: str
    needs_triton: bool
    available: bool
    reason: str | None


def strategies(device: str | torch.device | None = None) -> dict[str, StrategyInfo]:
    """Every strategy by name. `device`: where it would run; the GPU if there is one, else the CPU."""
    where = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    return {name: _info(cls, where) for name, cls in REGISTRY.items()}


def strategy_class(name: str, device: torch.device) -> type[Strategy]:
    """The class behind a name. ValueError: no such strategy; RuntimeError: it cannot run on `device`."""
    if not isinstance(name, str) or name not in REGISTRY:
        raise ValueError(f"strategy {name!r} is not known; choose one of {', '.join(REGISTRY)}")
    reason = REGISTRY[name].missing(device)
    if reason is not None:
        raise RuntimeError(f"strategy {name!r} cannot run on {device}: {reason}")
    return REGISTRY[name]


def _info(cls: type[Strategy], device: torch.device) -> StrategyInfo:
    reason = cls.missing(device)
    interpreted = "" if cls.needs_cuda else ", or TRITON_INTERPRET=1"
    needs = f"Triton 3.3 or newer and an NVIDIA GPU{interpreted}" if cls.needs_triton else "torch"
    return StrategyInfo(cls.name, cls.standing, cls.contract, needs, cls.needs_triton, reason is None, reason)
