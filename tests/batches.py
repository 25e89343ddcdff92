"""Batches to replay: named cases, random ones, and the strategies that can run here."""

import functools
from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch
from device import DEVICE
from hypothesis import strategies as st

import nsa_core as nsa

DECODE = nsa.ForwardMode.DECODE
IDLE = nsa.ForwardMode.IDLE
VERIFY = nsa.ForwardMode.TARGET_VERIFY
EXTEND = nsa.ForwardMode.DRAFT_EXTEND
MODES = (DECODE, VERIFY, EXTEND)

HOST_ONLY = ("eager", "copy", "foreach", "shared")  # no kernel of their own; the others run in Triton's interpreter
EXAMPLES, INTERPRETED_EXAMPLES = 60, 12


def each_mode(test):
    return pytest.mark.parametrize("mode", MODES, ids=lambda mode: mode.name.lower())(test)


def each_strategy(test):
    return pytest.mark.parametrize("strategy", runnable_strategies())(test)


def each_host_strategy(test):
    return pytest.mark.parametrize("strategy", [name for name in runnable_strategies() if name in HOST_ONLY])(test)


@functools.cache
def runnable_strategies():
    """Names that this machine offers for the device under test."""
    return [name for name, info in nsa.strategies(DEVICE).items() if info.available]


def examples_for(strategy):
    return EXAMPLES if strategy in HOST_ONLY else INTERPRETED_EXAMPLES


def token_table(pool, width, page_size, seed=0):
    """int32 [pool, width] of page-aligned runs: no page belongs to two requests, and page 0 is in use."""
    pages = -(-width // page_size)
    numbers = np.random.default_rng(seed).permutation(pool * pages).reshape(pool, pages, 1)
    slots = numbers * page_size + np.arange(page_size)
    return torch.from_numpy(slots.reshape(pool, -1)[:, :width].astype(np.int32).copy()).to(DEVICE)


def captured(config, table, num_steps, strategy, bs, *modes, validation="auto"):
    backend = nsa.MultiStepBackend(config, table, num_steps, strategy=strategy, validation=validation)
    for mode in modes:
        backend.capture(bs, mode)
    return backend


def captured_or_skip(option, *what):
    """A strategy may refuse an option of the config, but only by name."""
    try:
        return captured(*what)
    except ValueError as refusal:
        if option not in str(refusal):
            raise
        pytest.skip(str(refusal))


@dataclass(frozen=True)
class Requests:
    """One batch as plain numbers, so that a failing case prints itself. accepts None: draft extend of fixed width."""

    lengths: tuple
    pool_rows: tuple
    accepts: tuple | None
    dtype: torch.dtype = torch.int64
    mirrored: bool = False

    def batch(self, mode):
        lengths = torch.tensor(self.lengths, dtype=self.dtype, device=DEVICE)
        ragged = mode is EXTEND and self.accepts is not None
        accepts = torch.tensor(self.accepts, dtype=self.dtype, device=DEVICE) if ragged else None
        return nsa.ReplayBatch(
            seq_lens=lengths,
            req_pool_indices=torch.tensor(self.pool_rows, dtype=self.dtype, device=DEVICE),
            accept_length=accepts,
            seq_lens_cpu=lengths.cpu().clone() if self.mirrored else None,
            accept_length_cpu=accepts.cpu().clone() if self.mirrored and accepts is not None else None,
        )


@dataclass(frozen=True)
class Scenario:
    """A captured set's life: one capture, then several batches into the same buffers."""

    config: nsa.NSAConfig
    width: int
    pool: int
    num_steps: int
    replays: tuple

    @property
    def bs(self):
        return len(self.replays[0].lengths)

    @property
    def table(self):
        return token_table(self.pool, self.width, self.config.page_size)

    @property
    def fixed_width(self):
        """The same without accept lengths."""
        return replace(self, replays=tuple(replace(requests, accepts=None) for requests in self.replays))

    def backend(self, strategy, mode):
        return captured(self.config, self.table, self.num_steps, strategy, self.bs, mode)


# Named cases. Width 130 is two pages and two tokens at page size 64; top-k 48 lies inside it.
WIDTH, TOPK, DRAFTED = 130, 48, 3
_CONFIG = nsa.NSAConfig(page_size=16, index_topk=TOPK, num_draft_tokens=DRAFTED, max_context_len=WIDTH)
_FULL = WIDTH - DRAFTED


def _case(*replays, num_steps=2, width=WIDTH, **config):
    pool = 1 + max(max(pool_rows) for _, pool_rows, _ in replays)
    rows = tuple(Requests(*map(tuple, replay)) for replay in replays)
    return Scenario(replace(_CONFIG, **config), width, pool, num_steps, rows)


CASES = {
    "one request, one token": _case(([1], [0], [1])),
    "shrinks from full width to one token": _case(
        ([_FULL, _FULL], [1, 0], [3, 3]), ([1, 1], [0, 1], [1, 1]), ([2, 1], [2, 0], [1, 0])
    ),
    "grows from one token to full width": _case(([1, 2], [0, 1], [1, 1]), ([_FULL, 3], [2, 0], [3, 1])),
    "one page less one, one page, one past it": _case(([15, 16, 17], [2, 0, 1], [1, 2, 3])),
    "page size 1": _case(([7, _FULL], [1, 0], [2, 1]), ([4, 9], [0, 2], [1, 3]), page_size=1),
    "page size 7 does not divide the width": _case(([6, 7, 8], [0, 2, 1], [2, 3, 1]), page_size=7),
    "page as wide as the table": _case(([65, 3], [1, 0], [1, 2]), page_size=WIDTH),
    "one below top-k, at it, one above it": _case(
        ([TOPK - 1, TOPK, TOPK + 1], [0, 1, 2], [3, 1, 2]),
        ([TOPK - DRAFTED, TOPK - 1, TOPK + DRAFTED], [2, 1, 0], [1, 3, 2]),
    ),
    "top-k 1": _case(([5, 1], [1, 0], [2, 1]), index_topk=1),
    "one request in two rows of the batch": _case(([40, 40, 21], [3, 3, 3], [3, 1, 2])),
    "accepted none, some and all": _case(([30, 30, 30], [0, 1, 2], [0, 2, 3]), ([9, 9, 9], [2, 0, 1], [3, 0, 0])),
    "nothing accepted anywhere": _case(([30, 31], [0, 1], [3, 3]), ([20, 21], [1, 0], [0, 0])),
    "accepted as many tokens as the request holds": _case(([3, 1, 2], [0, 1, 2], [3, 1, 2])),
    "a request of length 0 beside a full one": _case(([0, _FULL], [0, 1], [0, 2])),
    "every request of length 0": _case(([5, 6], [0, 1], [1, 1]), ([0, 0], [1, 0], [0, 0])),
    "one draft token": _case(([12, 30], [1, 0], [1, 0]), num_draft_tokens=1),
    "eleven requests, a prime": _case((range(3, 14), range(10, -1, -1), [1, 3, 2] * 3 + [0, 2])),
    "five steps": _case(([33, 16], [0, 1], [2, 2]), ([17, 50], [1, 0], [1, 3]), num_steps=5),
}


def each_case(test):
    return pytest.mark.parametrize("case", list(CASES.values()), ids=list(CASES))(test)


# Larger than one tile of a kernel in one direction each: 1024 columns, or the requests that share 1024 rows.
_MANY = [(11 * i % 7 + 3) for i in range(1031)]
CAPACITY = {
    "2100 columns": _case(([2097, 1024, 1025], [1, 0, 2], [3, 1, 2]), width=2100, page_size=64, index_topk=2048),
    "2049 columns, page size 3": _case(([2046, 7], [1, 0], [3, 0]), width=2049, page_size=3, num_steps=1),
    "131 requests of 5 drafts": _case(
        (_MANY[:131], [5 * i % 6 for i in range(131)], [i % 4 for i in range(131)]), width=16, num_draft_tokens=5
    ),
}

EXTEND_CAPACITY = _case(
    (_MANY, [i % 5 for i in range(1031)], [i % 2 for i in range(1031)]), width=12, num_draft_tokens=1, num_steps=1
)

# Random cases.


def _lengths(config, lowest, highest):
    """Any length in the range, edges of pages and of top-k more often than chance would give them."""
    page, topk = config.page_size, config.index_topk
    edges = {lowest, highest, 1, 2, page - 1, page, page + 1, 2 * page, topk - 1, topk, topk + 1}
    return st.sampled_from(sorted(e for e in edges if lowest <= e <= highest)) | st.integers(lowest, highest)


@st.composite
def _requests(draw, config, mode, bs, pool, longest):
    most = st.sampled_from((0, 1, config.num_draft_tokens)) | st.integers(0, config.num_draft_tokens)
    lengths = tuple(draw(_lengths(config, 0, longest)) for _ in range(bs))
    accepts = tuple(min(draw(most), length) for length in lengths) if mode is EXTEND else ()
    accepts = None if mode is EXTEND and draw(st.booleans()) else accepts
    pool_rows = tuple(draw(st.integers(0, pool - 1)) for _ in range(bs))
    dtype = draw(st.sampled_from((torch.int32, torch.int64)))
    return Requests(lengths, pool_rows, accepts, dtype, mirrored=draw(st.booleans()))


@st.composite
def scenarios(draw, mode, widest=200, most_steps=5, step_offset=0):
    """Two or three replays of random batches; every size, edge and input dtype that the design allows."""
    drafted, num_steps = draw(st.integers(1, 5)), draw(st.integers(1, most_steps))
    reserved = drafted * (mode is VERIFY) + step_offset * num_steps
    width, bs = draw(st.integers(reserved + 1, widest)), draw(st.integers(1, 6))
    config = nsa.NSAConfig(
        page_size=draw(st.sampled_from((1, 3, 7, 16, 64))),
        index_topk=draw(st.sampled_from((1, 8, 64, 2048))),
        num_draft_tokens=drafted,
        max_context_len=draw(st.sampled_from((width, 8192))),
        step_offset=step_offset,
    )
    pool = draw(st.integers(1, 8))
    one = _requests(config, mode, bs, pool, width - reserved)
    return Scenario(config, width, pool, num_steps, tuple(draw(st.lists(one, min_size=2, max_size=3))))
