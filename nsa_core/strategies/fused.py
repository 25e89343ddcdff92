"""One Triton launch computes every field and writes the captured sets of all N steps.

Where values are not read (on a GPU, unless validation is "values") lengths and pool rows are the engine's to get
right: the kernel writes no table past its width, but it cannot tell a length that is too long, a row that is not
there, or lengths that sum to 2**31 or more, at which `cu_seqlens_k` wraps.
"""

from collections.abc import Sequence

import torch

from .. import kernels
from ..batch import INPUTS, Extent, ReplayBatch
from ..config import NSAConfig
from ..metadata import NSAMetadata
from .base import NO_STEPS, Captured, Refused, ReplayReport, Strategy

_PROGRAMS = 2112  # table programs aimed at: 16 on each of an H200's 132 multiprocessors


class Fused(Strategy):
    name = "fused"
    standing = "new: past the copies"
    contract = "live prefix"
    needs_triton = True
    capture_safe = True

    @classmethod
    def missing(cls, device: torch.device) -> str | None:
        return kernels.missing(device)

    def __init__(self, captured: Captured) -> None:
        """Writes the device table of destination addresses; from here on N costs no host work."""
        super().__init__(captured)
        if captured.config.flashmla_dense:
            raise Refused(
                f"flashmla_dense=True: strategy {self.name!r} does not compute the length-dependent FlashMLA "
                "schedule; use strategy 'copy', or a sparse schedule, which needs no refresh"
            )
        from ..kernels import refresh

        rows = captured.config.rows_per_request(captured.mode)
        if rows > refresh.TILE.value:
            raise Refused(
                f"num_draft_tokens is {rows}; strategy {self.name!r} handles a request's rows in one tile of "
                f"{refresh.TILE.value}; use strategy 'copy'"
            )
        vectors, tables = _vector_rows(captured, refresh.VECTOR_FIELDS), _table_rows(captured.sets)
        addresses = [address for row in vectors + tables for address in row]
        self._addresses = torch.tensor(addresses, device=captured.req_to_token.device)
        groups = -(-len(tables) * rows // refresh.LINES.value)
        columns = _columns(captured.config, refresh)["COLUMNS"]
        splits = min(-(-captured.width // columns), -(-_PROGRAMS // (captured.bs * groups)))
        scheduled = captured.config.paged_mqa_num_sms is not None
        sizes = (captured.bs, len(captured.sets), len(vectors), len(tables), splits, captured.width)
        same = (captured.req_to_token, self._addresses, *sizes, captured.req_to_token.stride(0))
        # by the number of inputs, which tells the two forms of draft extend apart
        self._after_inputs = {n: (*same, *_constants(captured, refresh, n).values()) for n in (2, 3)}
        self._grid = (len(vectors) * (1 + scheduled) + captured.bs * splits * groups, 1, 1)
        self._kernel, self._num_warps, self._compiled = refresh.refresh[self._grid], refresh.NUM_WARPS, {}
        self._report = ReplayReport(self.name, paths={"launch": 1})

    def require(self, inputs: Sequence[torch.Tensor]) -> None:
        for name, tensor in zip(INPUTS, inputs, strict=False):
            if not tensor.is_contiguous():
                raise ValueError(
                    f"{name} has stride {tensor.stride(0)}; a kernel reads it by address, so it must be "
                    "contiguous: pass .contiguous(), or use a strategy with the exact contract"
                )

    def replay(self, batch: ReplayBatch, extent: Extent | None = None) -> ReplayReport:
        self.launch(batch)
        return self._report

    def launch(self, batch: ReplayBatch) -> None:
        """The one launch. Reads nothing on the host, so it may run inside a CUDA graph capture.

        The kernel compiled for these dtypes is launched without asking Triton again which one that is.
        """
        inputs = batch.read_in(self.captured.mode)
        types = tuple([tensor.dtype for tensor in inputs])
        after_inputs = self._after_inputs[len(inputs)]
        if len(inputs) == 2:
            inputs += (inputs[0],)  # for the accept lengths, which only a ragged extend reads
        compiled_launch = self._compiled.get(types)
        self.torn = self.every_step
        if compiled_launch is not None:
            compiled_launch(*inputs, *after_inputs)
        else:
            compiled = self._kernel(*inputs, *after_inputs, num_warps=self._num_warps)
            if compiled is not None:  # None: interpreted
                self._compiled[types] = compiled[self._grid]
        self.torn = NO_STEPS


def _vector_rows(captured: Captured, names: tuple[str, ...]) -> list[list[int]]:
    """A row of addresses per step with vectors of its own; steps that share them all share a row."""
    fields = [[getattr(s, name) for name in names] for s in captured.sets]
    rows = [[0 if tensor is None else tensor.data_ptr() for tensor in tensors] for tensors in fields]
    return rows if captured.config.step_offset else _unique(rows)


def _table_rows(sets: list[NSAMetadata]) -> list[list[int]]:
    tables = [(s.page_table_1, s.real_page_table) for s in sets]
    return _unique([[number for table in pair for number in _address_and_stride(table)] for pair in tables])


def _address_and_stride(table: torch.Tensor | None) -> tuple[int, int]:
    return (0, 0) if table is None else (table.data_ptr(), table.stride(0))


def _unique(rows: list[list[int]]) -> list[list[int]]:
    return [list(row) for row in dict.fromkeys(map(tuple, rows))]


def _constants(c: Captured, refresh, num_inputs: int) -> dict[str, int | bool]:
    """What the kernel is compiled for, in its order: the mode and the model's constants, no size of a batch."""
    fixed_width = c.mode.is_draft_extend() and num_inputs == 2
    rows, sms = c.config.rows_per_request(c.mode), c.config.paged_mqa_num_sms or 0
    return {
        "MODE": refresh.MODES["draft_extend of fixed width" if fixed_width else c.mode.value],
        "DRAFTS": rows,
        "ROWS": _power_of_two(rows),
        **_columns(c.config, refresh),
        "TOPK": c.config.index_topk,
        "STEP_OFFSET": c.config.step_offset,
        "NUM_SMS": sms,
        "SMS": _power_of_two(sms + 1),
        "WIDE_TABLE": "page_table_1" in c.config.tables,
        "REAL_TABLE": any(_has_real_table_of_its_own(s) for s in c.sets),
        "ALIGNED": all(_aligned(t) for t in [c.req_to_token, *(s.page_table_1 for s in c.sets)] if t is not None),
    }


def _columns(config: NSAConfig, refresh) -> dict[str, int]:
    """Columns, and with them pages, that a program moves at a time; columns in whole pages meet one page less."""
    if "page_table_1" in config.tables:
        columns, pages = refresh.COLUMNS, refresh.COLUMNS // config.page_size + 1
    else:
        columns, pages = refresh.PAGES_ALONE * config.page_size, refresh.PAGES_ALONE
    return {"COLUMNS": columns, "PAGE_SIZE": config.page_size, "PAGES": _power_of_two(pages)}


def _has_real_table_of_its_own(captured: NSAMetadata) -> bool:
    wide, real = captured.page_table_1, captured.real_page_table
    return real is not None and (wide is None or wide.data_ptr() != real.data_ptr())


def _aligned(table: torch.Tensor) -> bool:
    """Whether every row starts on 16 bytes, so that four columns move at once."""
    return table.data_ptr() % 16 == 0 and table.stride(0) % 4 == 0


def _power_of_two(n: int) -> int:
    return 1 << (n - 1).bit_length()
