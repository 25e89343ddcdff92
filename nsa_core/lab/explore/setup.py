"""What fixes captured sets, and what one replay of them is given."""

from dataclasses import dataclass

import torch

from ... import ForwardMode, MultiStepBackend, NSAConfig, ReplayBatch
from ...config import TABLES

PADDING_ROW = 0  # the pool row that padded requests read, see `ReplayBatch.padded`


@dataclass(frozen=True)
class Setup:
    """Everything that is decided at capture. Sizes are small so that every cell can be seen.

    bs: captured requests; a smaller batch is padded. width: columns of `req_to_token` and so of every table.
    steps: N draft steps. fixed_width: draft extend without accept lengths. The other fields go into `NSAConfig`.
    """

    mode: ForwardMode = ForwardMode.DECODE
    bs: int = 8
    width: int = 24
    page_size: int = 4
    topk: int = 8
    draft_tokens: int = 4
    steps: int = 3
    step_offset: int = 0
    tables: tuple[str, ...] = TABLES
    strategy: str = "copy"
    fixed_width: bool = False
    device: str = "cpu"

    @property
    def config(self) -> NSAConfig:
        return NSAConfig(
            page_size=self.page_size,
            index_topk=self.topk,
            num_draft_tokens=self.draft_tokens,
            max_context_len=self.width,
            step_offset=self.step_offset,
            tables=self.tables,
        )

    @property
    def rows(self) -> int:
        """Captured rows (cap)."""
        return self.bs * self.config.rows_per_request(self.mode)

    @property
    def longest(self) -> int:
        """Most tokens a request may have, so that the last step still fits the table."""
        return max(self.width - self.config.length_growth(self.mode, self.steps - 1), 0)

    def backend(self, req_to_token: torch.Tensor) -> MultiStepBackend:
        return MultiStepBackend(self.config, req_to_token, self.steps, strategy=self.strategy, validation="values")


def interleaved_table(requests: int, width: int, page_size: int, device: str = "cpu") -> torch.Tensor:
    """int32 [requests + 1, width]: slots of requests that grew together, so their pages take turns.

    Not the audit's table, whose pages are shuffled: here a reader shall tell by a page's number whose it is.

    Row 0 is for padding and lies in page 0. Page p of row r >= 1 is page 1 + p * requests + (r - 1).
    """
    tokens, rows = torch.arange(width), torch.arange(requests + 1).unsqueeze(1)
    pages = tokens // page_size * requests + rows
    pages[PADDING_ROW] = 0
    return (pages * page_size + tokens % page_size).to(device=device, dtype=torch.int32)


@dataclass(frozen=True, eq=False)
class Batch:
    """One replay's batch before padding, and the token table of that moment.

    accepts: accept lengths; other modes than draft extend do not read them.
    pool_rows: rows of the table; request i lives in row i + 1 unless given.
    table: int32 [bs + 1, width]; the observation's own `interleaved_table` unless given.
    names: who the requests are, across batches; a request is known by its pool row unless given.
    """

    lengths: tuple[int, ...]
    accepts: tuple[int, ...] = ()
    pool_rows: tuple[int, ...] | None = None
    table: torch.Tensor | None = None
    names: tuple[str, ...] = ()

    @property
    def people(self) -> tuple[str, ...]:
        return self.names or tuple(map(str, self.rows))

    @property
    def rows(self) -> tuple[int, ...]:
        return self.pool_rows or tuple(range(1, len(self.lengths) + 1))

    def padded(self, setup: Setup) -> ReplayBatch:
        """What the engine hands over: padded to the captured size."""
        require_captured(len(self.lengths), setup)
        lengths = torch.tensor(self.lengths, dtype=torch.int32)
        ragged = setup.mode.is_draft_extend() and not setup.fixed_width
        accepts = torch.tensor(self.accepts, dtype=torch.int32) if ragged else None
        on_device = [None if t is None else t.to(setup.device) for t in (lengths, torch.tensor(self.rows), accepts)]
        return ReplayBatch(*on_device).padded(setup.bs)


def require_captured(requests: int, setup: Setup) -> None:
    if requests > setup.bs:
        raise ValueError(f"lengths has {requests} requests, but {setup.bs} were captured; drop some")
