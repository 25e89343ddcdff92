"""One of this package's strategies under audit: captured as an engine would, and replayed in turn with others."""

from collections.abc import Callable

import torch

from ..batch import ReplayBatch
from ..config import ForwardMode, NSAConfig
from ..multistep import MultiStepBackend
from ..strategies import strategies
from .drive import audit
from .report import AuditReport

MODES = (ForwardMode.DECODE, ForwardMode.TARGET_VERIFY, ForwardMode.DRAFT_EXTEND)


def audit_strategy(
    strategy: str,
    config: NSAConfig,
    req_to_token: torch.Tensor,
    mode: ForwardMode,
    num_steps: int,
    bs: int,
    in_turn: bool = True,
    fixed_width: bool = False,
) -> AuditReport:
    """Audit `strategy` under the contract it names. fixed_width: as for `audit`.

    in_turn: a smaller batch size and the other modes share the backend and are replayed before every refresh.
    Raises RuntimeError when the strategy cannot run on the device of `req_to_token`.
    """
    backend = MultiStepBackend(config, req_to_token, num_steps, strategy=strategy)
    others = _others(backend, bs) if in_turn else None
    captured = backend.capture(bs, mode)
    contract = strategies(req_to_token.device)[strategy].contract
    return audit(
        lambda batch: backend.replay(batch, mode),
        captured,
        config,
        req_to_token,
        mode,
        contract=contract,
        between=others,
        fixed_width=fixed_width,
    )


def _others(backend: MultiStepBackend, bs: int) -> Callable[[], None]:
    """Replays of half the batch size in every mode."""
    few, device = max(bs // 2, 1), backend.req_to_token.device
    ones = torch.ones(few, dtype=torch.int64)
    batch = ReplayBatch((ones * 7).to(device), (ones * 0).to(device), ones.int().to(device), ones * 7, ones.int())
    for mode in MODES:
        backend.capture(few, mode)

    def replay_others() -> None:
        for mode in MODES:
            backend.replay(batch, mode)

    return replay_others


def token_table(pool: int, width: int, page_size: int, device: torch.device) -> torch.Tensor:
    """int32 [pool, width]: page-aligned runs in shuffled order, no page in two requests; cut from a wider table."""
    pages = -(-width // page_size) + 1
    order = torch.randperm(pool * pages, generator=torch.Generator().manual_seed(0)).view(pool, pages, 1)
    slots = (order * page_size + torch.arange(page_size)).view(pool, -1)
    return slots.to(device, torch.int32)[:, :width]
