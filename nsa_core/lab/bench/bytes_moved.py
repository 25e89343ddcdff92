"""How many bytes a replay must move: the floor of a case too large for launches to matter."""

from dataclasses import dataclass

from nsa_core import NSAConfig

from .cases import DECODE, EXTEND, VERIFY, BenchCase, CaseInputs

INT32 = 4


@dataclass(frozen=True)
class BytesMoved:
    """Bytes read plus bytes written, each once, by the three ways to refresh N captured sets.

    generate: read the batch and its slots, write the live prefix of all N sets.
    share: the same, but tables and vectors that are equal for all steps are written once.
    copy: compute one step's values, exact extents E x L, then read them and write them N times.
    recompute: what `eager` moves, N times the cost of computing and copying one step.
    """

    generate: int
    share: int
    copy: int
    recompute: int


def bytes_moved(case: BenchCase, inputs: CaseInputs) -> BytesMoved:
    """The bytes of a case. FlashMLA's schedule is left out: 2 KB."""
    live, read = _row_lengths(case.config, case, inputs), _bytes_read(case, inputs)
    vectors = _vector_cells(case, len(live)) * INT32
    tables = sum(_table_cells(case, n) for n in live) * INT32
    exact = len(live) * _table_cells(case, max(_attended(case, n) for n in inputs.lengths)) * INT32 + vectors
    shared_vectors = vectors * (case.steps if case.step_offset else 1)
    return BytesMoved(
        generate=read + case.steps * (tables + vectors),
        share=read + tables + shared_vectors,
        copy=2 * exact + 2 * case.steps * exact,
        recompute=4 * case.steps * exact,
    )


def bytes_written(case: BenchCase, inputs: CaseInputs) -> BytesMoved:
    """Those of `bytes_moved` that are written; whatever is copied is read as often as it is written."""
    moved, read = bytes_moved(case, inputs), _bytes_read(case, inputs)
    return BytesMoved(moved.generate - read, moved.share - read, moved.copy // 2, moved.recompute // 2)


def _bytes_read(case: BenchCase, inputs: CaseInputs) -> int:
    """The batch and its slots, once."""
    vectors = inputs.batch.seq_lens.element_size() * 2 * len(inputs.lengths)
    wide = "page_table_1" in case.tables  # else only the first slot of each page is read
    attended = [_attended(case, n) for n in inputs.lengths]
    return vectors + sum(n if wide else _pages(case, n) for n in attended) * INT32


def _attended(case: BenchCase, tokens: int) -> int:
    """Tokens the longest row of a request attends to at the last step."""
    return tokens + case.config.length_growth(case.mode, case.steps - 1)


def _row_lengths(config: NSAConfig, case: BenchCase, inputs: CaseInputs) -> list[int]:
    d, lengths = config.num_draft_tokens, inputs.lengths
    if case.mode is VERIFY:
        return [n + i for n in lengths for i in range(1, d + 1)]
    if case.mode is EXTEND:
        return [n - a + i for n, a in zip(lengths, inputs.accepts, strict=True) for i in range(1, a + 1)]
    return list(lengths)


def _pages(case: BenchCase, tokens: int) -> int:
    return -(-tokens // case.page_size)


def _table_cells(case: BenchCase, tokens: int) -> int:
    if case.page_size == 1:  # one storage for both
        return tokens
    cells = {"page_table_1": tokens, "real_page_table": _pages(case, tokens)}
    return sum(cells[name] for name in case.tables)


def _vector_cells(case: BenchCase, rows: int) -> int:
    """Lengths and their sums per request; topk lengths, their sums and, but for decode, expanded lengths per row."""
    return 2 * case.bs + (2 if case.mode is DECODE else 3) * rows
