"""One Triton launch computes every field and writes the captured sets of all N steps.

Where values are not read (on a GPU, unless validation is "values") lengths and pool rows are the engine's to get right:
the kernel writes no table past its width, but it cannot tell a length that is too long or a row that is not there.
"""

from collections.abc import Callable
from functools import partial

import torch

from .. import kernels
from ..batch import ReplayBatch
from ..metadata import NSAMetadata
from .base import NO_STEPS, Captured, Refused, ReplayReport, Strategy

_PROGRAMS = 2112  # table programs aimed at: 16 on each of an H200's 132 multiprocessors


class Fused(Strategy):
    name = "fused"
    standing = "new: past the record"
    contract = "live prefix"
    needs = "Triton and an NVIDIA GPU, or TRITON_INTERPRET=1"
    capture_safe = True

    @classmethod
    def missing(cls, device: torch.device) -> str | None:
        return kernels.missing(device)

    def __init__(self, captured: Captured) -> None:
        """Writes the device table of destination addresses; from here on N costs no host work."""
        super().__init__(captured)
        if captured.config.flashmla_dense:
            raise Refused(
                "flashmla_dense=True: strategy 'fused' does not compute the length-dependent FlashMLA "
                "schedule; use strategy 'copy', or a sparse schedule, which needs no refresh"
            )
        from ..kernels import refresh

        rows = captured.config.rows_per_request(captured.mode)
        if rows > refresh.TILE.value:
            raise Refused(
                f"num_draft_tokens is {rows}; strategy 'fused' handles a request's rows in one tile of "
                f"{refresh.TILE.value}; use strategy 'copy'"
            )
        vectors, tables = _vector_rows(captured, refresh.VECTOR_FIELDS), _table_rows(captured.sets)
        addresses = [address for row in vectors + tables for address in row]
        self._addresses = torch.tensor(addresses, device=captured.req_to_token.device)
        groups = -(-len(tables) * rows // refresh.LINES.value)
        splits = min(-(-captured.width // refresh.COLUMNS.value), -(-_PROGRAMS // (captured.bs * groups)))
        scheduled = captured.config.paged_mqa_num_sms is not None
        self._kernel, self._constants = refresh.refresh, _constants(captured, refresh)
        self._sizes = (
            captured.bs,
            len(captured.sets),
            len(vectors),
            len(tables),
            splits,
            captured.width,
            captured.req_to_token.stride(0),
        )
        self._grid = (len(vectors) * (1 + scheduled) + captured.bs * splits * groups, 1, 1)
        self._num_warps, self._compiled = refresh.NUM_WARPS, None
        self._report = ReplayReport(self.name, paths={"launch": 1})

    def replay(self, batch: ReplayBatch) -> ReplayReport:
        launch = self._bind(batch)
        self.torn = range(len(self.captured.sets))
        self._compiled = launch()
        self.torn = NO_STEPS
        return self._report

    def launch(self, batch: ReplayBatch) -> None:
        """The one launch. Reads nothing on the host, so it may run inside a CUDA graph capture."""
        self._bind(batch)()

    def repeat(self, batch: ReplayBatch) -> Callable[[], object] | None:
        """The kernel compiled for this batch's types, launched without asking Triton again which one that is."""
        if self._compiled is None:  # interpreted
            return self._bind(batch)
        return partial(self._compiled[self._grid], *self._arguments(batch), *self._constants.values())

    def _bind(self, batch: ReplayBatch) -> Callable[[], object]:
        _require_contiguous(batch)
        return partial(
            self._kernel[self._grid], *self._arguments(batch), **self._constants, num_warps=self._num_warps
        )

    def _arguments(self, batch: ReplayBatch) -> tuple[torch.Tensor | int, ...]:
        lengths, pool_rows, *accepts = self._read(batch)
        accept_length = accepts[0] if accepts else lengths  # never read outside draft extend
        return (lengths, pool_rows, accept_length, self.captured.req_to_token, self._addresses, *self._sizes)

    def addresses(self, batch: ReplayBatch) -> tuple[tuple[int, torch.dtype, tuple[int, ...]], ...]:
        """What a recorded launch would read: the address, type and stride of every input."""
        return tuple((tensor.data_ptr(), tensor.dtype, tensor.stride()) for tensor in self._read(batch))

    def _read(self, batch: ReplayBatch) -> tuple[torch.Tensor, ...]:
        tensors = (batch.seq_lens, batch.req_pool_indices)
        return (*tensors, batch.accept_length) if self.captured.mode.is_draft_extend() else tensors


def _require_contiguous(batch: ReplayBatch) -> None:
    for name in ("seq_lens", "req_pool_indices", "accept_length"):
        tensor = getattr(batch, name)
        if tensor is not None and not tensor.is_contiguous():
            raise ValueError(
                f"{name} has stride {tensor.stride(0)}; a kernel reads it by address, so it must be "
                "contiguous: pass .contiguous(), or use a strategy with the exact contract"
            )


def _vector_rows(captured: Captured, names: tuple[str, ...]) -> list[list[int]]:
    """A row of addresses per step with vectors of its own; steps that share them all share a row."""
    held = [[getattr(s, name) for name in names] for s in captured.sets]
    rows = [[0 if tensor is None else tensor.data_ptr() for tensor in tensors] for tensors in held]
    return rows if captured.config.step_offset else _unique(rows)


def _table_rows(sets: list[NSAMetadata]) -> list[list[int]]:
    return _unique(
        [
            [
                address
                for table in (s.page_table_1, s.real_page_table)
                for address in (table.data_ptr(), table.stride(0))
            ]
            for s in sets
        ]
    )


def _unique(rows: list[list[int]]) -> list[list[int]]:
    return [list(row) for row in dict.fromkeys(map(tuple, rows))]


def _constants(c: Captured, refresh) -> dict[str, int | bool]:
    """What the kernel is compiled for, in its order: the mode and the model's constants, no size of a batch."""
    rows, sms = c.config.rows_per_request(c.mode), c.config.paged_mqa_num_sms or 0
    return dict(
        MODE=refresh.MODES[c.mode.value],
        DRAFTS=rows,
        ROWS=_power_of_two(rows),
        PAGE_SIZE=c.config.page_size,
        PAGES=_power_of_two(refresh.COLUMNS.value // c.config.page_size + 1),
        TOPK=c.config.index_topk,
        STEP_OFFSET=c.config.step_offset,
        NUM_SMS=sms,
        SMS=_power_of_two(sms + 1),
        REAL_TABLE=any(s.page_table_1.data_ptr() != s.real_page_table.data_ptr() for s in c.sets),
        ALIGNED=all(_aligned(t) for t in [c.req_to_token, *(s.page_table_1 for s in c.sets)]),
    )


def _aligned(table: torch.Tensor) -> bool:
    """Whether every row starts on 16 bytes, so that four columns move at once."""
    return table.data_ptr() % 16 == 0 and table.stride(0) % 4 == 0


def _power_of_two(n: int) -> int:
    return 1 << (n - 1).bit_length()
