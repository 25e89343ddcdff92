"""Batches chosen to hurt: edges of pages, splits and top-k, full width, shrinking, other pool rows, reused inputs."""

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch

from ..batch import ReplayBatch
from ..config import ForwardMode, NSAConfig
from ..schedules import FLASHMLA_BLOCK, SPLIT_KV

_DTYPES = (torch.int64, torch.int32)
_RANDOM_CASES = 3


@dataclass(frozen=True)
class Case:
    """One batch of a sequence as plain numbers.

    in_place: the tensors of the batch before are filled with these numbers, as an engine does with its input buffers.
    strided: the tensors are every second entry of wider ones; a refresh may refuse such inputs, but not misread them.
    moved_slots: the requests' rows of `req_to_token` change contents for this batch, as after a reallocation.
    given: the caller's own batch object; it is refreshed with instead of a copy.
    """

    name: str
    lengths: tuple[int, ...]
    rows: tuple[int, ...]
    accepts: tuple[int, ...] | None = None
    dtypes: tuple[torch.dtype, torch.dtype] = (torch.int64, torch.int64)  # of lengths, of rows
    mirrored: bool = True
    in_place: bool = False
    strided: bool = False
    moved_slots: bool = False
    given: ReplayBatch | None = None

    @staticmethod
    def of(batch: ReplayBatch, index: int) -> "Case":
        accepts = None if batch.accept_length is None else tuple(batch.accept_length.tolist())
        dtypes, mirrored = (batch.seq_lens.dtype, batch.req_pool_indices.dtype), batch.seq_lens_cpu is not None
        rows = tuple(batch.req_pool_indices.tolist())
        return Case(f"batches[{index}]", tuple(batch.seq_lens.tolist()), rows, accepts, dtypes, mirrored, given=batch)

    def batch(self, device: torch.device, previous: ReplayBatch | None = None) -> ReplayBatch:
        """Fresh tensors on `device`, or with `in_place` those of the batch before."""
        if self.given is not None:
            return self.given
        accepts = None if self.accepts is None else torch.tensor(self.accepts, dtype=torch.int32)
        lengths = torch.tensor(self.lengths, dtype=self.dtypes[0])
        mirrors = (
            (lengths.clone(), accepts if accepts is None else accepts.clone()) if self.mirrored else (None, None)
        )
        rows = torch.tensor(self.rows, dtype=self.dtypes[1])
        if self.in_place and previous is not None:
            return _refill(previous, lengths, rows, accepts)
        place = _every_second if self.strided else torch.clone
        on_device = [None if t is None else place(t.to(device)) for t in (lengths, rows, accepts)]
        return ReplayBatch(*on_device, *mirrors)


def _every_second(values: torch.Tensor) -> torch.Tensor:
    return torch.stack([values, torch.zeros_like(values)], 1)[:, 0]


def _refill(
    batch: ReplayBatch, lengths: torch.Tensor, rows: torch.Tensor, accepts: torch.Tensor | None
) -> ReplayBatch:
    values = (lengths, rows, accepts, lengths, accepts)
    targets = (
        batch.seq_lens,
        batch.req_pool_indices,
        batch.accept_length,
        batch.seq_lens_cpu,
        batch.accept_length_cpu,
    )
    for target, new in zip(targets, values, strict=True):
        if target is not None:
            target.copy_(new)
    return batch


@dataclass(frozen=True)
class Limits:
    """What a valid batch of this audit may be."""

    config: NSAConfig
    mode: ForwardMode
    bs: int
    pool: int
    longest: int

    @property
    def shortest(self) -> int:
        return 0 if self.mode.is_decode_or_idle() else 1

    def lengths(self, cycle: Sequence[int], shift: int = 0) -> tuple[int, ...]:
        """`cycle` dealt out to the requests, inside the limits."""
        dealt = (cycle[(i + shift) % len(cycle)] for i in range(self.bs))
        return tuple(min(max(length, self.shortest), self.longest) for length in dealt)

    def rows(self, shift: int) -> tuple[int, ...]:
        """Pool rows, each request another one while there are enough, and others for another `shift`."""
        return tuple((i + shift) % self.pool for i in range(self.bs))

    def accepts(self, cycle: Sequence[int], lengths: Sequence[int]) -> tuple[int, ...] | None:
        if not self.mode.is_draft_extend():
            return None
        return tuple(min(cycle[i % len(cycle)], length) for i, length in enumerate(lengths))


def default_cases(limits: Limits) -> list[Case]:
    """The sequence. Its order matters: it shrinks and grows; each batch has other lengths, rows and input types."""
    cases = [_plain(limits, i, name, cycle) for i, (name, cycle) in enumerate(_cycles(limits).items())]
    cases += _special(limits, cases[1])
    cases += [_random_case(limits, seed) for seed in range(_RANDOM_CASES)]
    return cases


def _cycles(limits: Limits) -> dict[str, list[int]]:
    page, topk, full = limits.config.page_size, limits.config.index_topk, limits.longest
    cycles = {
        "one token each": [1],
        "full width": [full],
        "one token each, after full width": [1],
        "around a page": [page - 1, page, page + 1],
        "a token more than before": [page, page + 1, page + 2],
        "around top-k": [topk - 1, topk, topk + 1],
        "around top-k with drafts": [topk - limits.config.num_draft_tokens + i for i in (-1, 0, 1)],
        "around a FlashMLA block": [FLASHMLA_BLOCK + i for i in (-1, 0, 1)],
        "around a split": [SPLIT_KV + i for i in (1, 0, -1)],
        "all in one split, after more": [SPLIT_KV],
        "the first request long, the others short": [full, *[1] * (limits.bs - 1)],
        "the last request long, the others short": [*[2] * (limits.bs - 1), full],
        "full width less one": [full - 1],
    }
    if limits.shortest == 0:
        cycles |= {"some of length 0": [0, page + 1], "all of length 0": [0], "three, after nothing": [3]}
    return cycles


def _plain(limits: Limits, index: int, name: str, cycle: list[int]) -> Case:
    most = limits.config.num_draft_tokens
    patterns = ([most], [1], [0, most], [most, 0], list(range(most + 1)), list(range(most, -1, -1)))
    lengths = limits.lengths(cycle)
    accepts = limits.accepts(patterns[index % len(patterns)], lengths)
    dtypes = (_DTYPES[index % 2], _DTYPES[index // 2 % 2])
    return Case(name, lengths, limits.rows(index), accepts, dtypes, mirrored=index % 3 != 2)


def _special(limits: Limits, full: Case) -> list[Case]:
    most, page = limits.config.num_draft_tokens, limits.config.page_size
    lengths = limits.lengths([page + 1, 2, 3 * page])
    base = Case("distinct lengths", lengths, limits.rows(1), limits.accepts([most, 0, 1], lengths))
    short = limits.lengths([2, page])
    special = [
        base,
        replace(base, name="the same batch again"),
        replace(
            base,
            name="same tensors, new values",
            lengths=short,
            rows=limits.rows(2),
            accepts=limits.accepts([1, most], short),
            in_place=True,
        ),
        replace(base, name="strided inputs", strided=True),
        replace(base, name="other pool rows", rows=base.rows[1:] + base.rows[:1]),
        replace(base, name="slots moved to other requests", moved_slots=True),
        replace(base, name="one pool row for all", rows=(limits.pool - 1,) * limits.bs),
        _padded(limits, replace(full, name="padded to the captured size")),
    ]
    if limits.mode.is_draft_extend():
        special += [
            replace(base, name=name, accepts=limits.accepts(cycle, lengths))
            for name, cycle in (
                ("nothing accepted", [0]),
                ("everything accepted", [most]),
                ("accepted by the last request only", [*[0] * (limits.bs - 1), most]),
            )
        ]
    return special


def _padded(limits: Limits, case: Case) -> Case:
    """The first half of a batch, padded as `ReplayBatch.padded` does."""
    kept, fill = (limits.bs + 1) // 2, limits.bs // 2
    ones = (1,) * fill
    accepts = None if case.accepts is None else case.accepts[:kept] + ones
    return replace(case, lengths=case.lengths[:kept] + ones, rows=case.rows[:kept] + (0,) * fill, accepts=accepts)


def _random_case(limits: Limits, seed: int) -> Case:
    chance = random.Random(seed)
    lengths = tuple(chance.randint(limits.shortest, limits.longest) for _ in range(limits.bs))
    accepts = limits.accepts([chance.randint(0, limits.config.num_draft_tokens) for _ in range(limits.bs)], lengths)
    rows = tuple(chance.randrange(limits.pool) for _ in range(limits.bs))
    return Case(f"random, seed {seed}", lengths, rows, accepts, (_DTYPES[seed % 2], _DTYPES[(seed + 1) % 2]))
