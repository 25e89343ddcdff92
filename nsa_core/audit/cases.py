"""Batches chosen to hurt: edges of pages, splits and top-k, full width, shrinking, other pool rows, reused inputs."""

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch

from ..batch import INPUTS, ReplayBatch
from ..config import ForwardMode, NSAConfig
from ..schedules import FLASHMLA_BLOCK, SPLIT_KV

_DTYPES = (torch.int64, torch.int32)
MIRRORS = ("seq_lens_cpu", "accept_length_cpu")
_RANDOM_CASES = 3

# How the tensors of a batch lie in memory. What lies beside the values must not be read for them.
_LAYOUTS = {
    "whole": torch.clone,
    "every second": lambda values: torch.stack([values, torch.zeros_like(values)], 1)[:, 0],
    "behind others": lambda values: torch.cat([torch.zeros_like(values), values])[len(values) :],
}


def slots_of(table: torch.Tensor, rows: torch.Tensor, page_size: int, num_slots: int) -> dict[str, torch.Tensor]:
    """What `rows` of `req_to_token` may hold while a batch is refreshed: always slots in page-aligned runs."""
    own, next_row = table[rows], table[(rows + 1) % len(table)]
    pages_above = (num_slots - 1 - int(own.max())) // page_size
    return {
        "as given": own,
        "of the next row": next_row,
        "later pages of the next row": torch.cat([own[:, :page_size], next_row[:, page_size:]], 1),
        "the largest": own + max(pages_above, 0) * page_size,
    }


@dataclass(frozen=True)
class Case:
    """One batch of a sequence as plain numbers.

    bound: host mirrors of lengths are at least this, an upper bound where they may be one; 0: they are equal.
    poisoned: every cell is poisoned first; else it holds what the refresh before left there.
    in_place: the tensors of the batch before are filled with these numbers, as an engine does with its input buffers.
    layout: how the tensors lie in memory. A refresh may refuse strided inputs ("every second"), but not misread them.
    slots: what the requests' rows of `req_to_token` hold for this batch, a key of `slots_of`.
    given: the caller's own batch object; it is refreshed with instead of a copy.
    """

    name: str
    lengths: tuple[int, ...]
    rows: tuple[int, ...]
    accepts: tuple[int, ...] | None = None
    dtypes: tuple[torch.dtype, ...] = (torch.int64,) * 3  # of lengths, of rows and mirrors, of accept lengths
    mirrors: tuple[str, ...] = MIRRORS
    bound: int = 0
    poisoned: bool = True
    in_place: bool = False
    layout: str = "whole"
    slots: str = "as given"
    given: ReplayBatch | None = None

    @staticmethod
    def of(batch: ReplayBatch, index: int) -> "Case":
        fields = {name: getattr(batch, name) for name in (*INPUTS, *MIRRORS)}
        dtypes = tuple(torch.int64 if fields[name] is None else fields[name].dtype for name in INPUTS)
        lengths, rows, accepts, bounds, _ = (None if t is None else tuple(t.tolist()) for t in fields.values())
        mirrors = tuple(name for name in MIRRORS if fields[name] is not None)
        bound = 0 if bounds in (None, lengths) else max(bounds)
        return Case(f"batches[{index}]", lengths, rows, accepts, dtypes, mirrors, bound, given=batch)

    def batch(self, device: torch.device, previous: ReplayBatch | None = None) -> ReplayBatch:
        """Fresh tensors on `device`, or with `in_place` those of the batch before."""
        if self.given is not None:
            return self.given
        if self.in_place and previous is not None:
            return _refill(previous, self._tensors())
        place = _LAYOUTS[self.layout]
        return ReplayBatch(
            **{
                name: None if values is None else place(values.to("cpu" if name in MIRRORS else device))
                for name, values in self._tensors().items()
                if name in (*INPUTS, *self.mirrors)
            }
        )

    def _tensors(self) -> dict[str, torch.Tensor | None]:
        """By field of `ReplayBatch`, on the CPU."""
        lengths, rows, accepts = (
            None if values is None else torch.tensor(values, dtype=dtype)
            for values, dtype in zip((self.lengths, self.rows, self.accepts), self.dtypes, strict=True)
        )
        mirrors = lengths.clamp(min=self.bound).to(rows.dtype), None if accepts is None else accepts.to(rows.dtype)
        return dict(zip((*INPUTS, *MIRRORS), (lengths, rows, accepts, *mirrors), strict=True))


def _refill(batch: ReplayBatch, values: dict[str, torch.Tensor | None]) -> ReplayBatch:
    for name, new in values.items():
        target = getattr(batch, name)
        if target is not None and target.tolist() != new.tolist():  # equal ones keep their version, too
            target.copy_(new)
    return batch


@dataclass(frozen=True)
class Limits:
    """What a valid batch of this audit may be; the options are those of `audit`."""

    config: NSAConfig
    mode: ForwardMode
    bs: int
    pool: int
    longest: int
    fixed_width: bool = False
    engine_batches: bool = False

    @property
    def ragged(self) -> bool:
        return self.mode.is_draft_extend() and not self.fixed_width

    def lengths(self, cycle: Sequence[int]) -> tuple[int, ...]:
        """`cycle` dealt out to the requests, inside the limits."""
        return tuple(min(max(cycle[i % len(cycle)], 0), self.longest) for i in range(self.bs))

    def rows(self, shift: int) -> tuple[int, ...]:
        """Pool rows, each request another one while there are enough, and others for another `shift`."""
        return tuple((i + shift) % self.pool for i in range(self.bs))

    def accepts(self, cycle: Sequence[int], lengths: Sequence[int]) -> tuple[int, ...] | None:
        if not self.ragged:
            return None
        return tuple(min(cycle[i % len(cycle)], length) for i, length in enumerate(lengths))


def default_cases(limits: Limits) -> list[Case]:
    """The sequence. Its order matters: it shrinks and grows; each batch has other lengths, rows and input types."""
    cases = [_plain(limits, i, name, cycle) for i, (name, cycle) in enumerate(_cycles(limits).items())]
    cases += _special(limits, cases[1])
    cases += [_random_case(limits, seed) for seed in range(_RANDOM_CASES)]
    return _as_engines_form(cases) if limits.engine_batches else cases


def _as_engines_form(cases: Sequence[Case]) -> list[Case]:
    """Those that SGLang's graph runner can form, none with a request, or one in draft extend, that has no token."""
    return [
        replace(case, lengths=_at_least_one(case.lengths), accepts=case.accepts and _at_least_one(case.accepts))
        for case in cases
        if case.bound == 0 and case.layout != "every second"
    ]


def _at_least_one(values: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(max(value, 1) for value in values)


def _cycles(limits: Limits) -> dict[str, list[int]]:
    page, topk, full = limits.config.page_size, limits.config.index_topk, limits.longest
    return {
        "one token each": [1],
        "full width": [full],
        "one token each, after full width": [1],
        "around a page": [page - 1, page, page + 1],
        "a token more than before": [page, page + 1, page + 2],
        "around two pages": [2 * page + i for i in (-1, 0, 1)],
        "around top-k": [topk - 1, topk, topk + 1],
        "around top-k with drafts": [topk - limits.config.num_draft_tokens + i for i in (-1, 0, 1)],
        "around a FlashMLA block": [FLASHMLA_BLOCK + i for i in (-1, 0, 1)],
        "around a split": [SPLIT_KV + i for i in (1, 0, -1)],
        "all in one split, after more": [SPLIT_KV],
        "the first request long, the others short": [full, *[1] * (limits.bs - 1)],
        "the last request long, the others short": [*[2] * (limits.bs - 1), full],
        "full width less one": [full - 1],
        "each request longer than the one before": [1 + i * (full - 1) // limits.bs for i in range(limits.bs)],
        "some of length 0": [0, page + 1],
        "all of length 0": [0],
        "three, after nothing": [3],
        "the first request alone has tokens": [page + 1, *[0] * (limits.bs - 1)],
        "the last request alone has tokens": [*[0] * (limits.bs - 1), page + 1],
    }


def _plain(limits: Limits, index: int, name: str, cycle: list[int]) -> Case:
    most = limits.config.num_draft_tokens
    some = (most + 1) // 2
    patterns = ([most], [1], [0, most], [most, 0], [some], list(range(most + 1)), list(range(most, -1, -1)))
    lengths = limits.lengths(cycle)
    accepts = limits.accepts(patterns[index % len(patterns)], lengths)
    dtypes = (_DTYPES[index % 2], _DTYPES[index // 2 % 2], _DTYPES[index // 4 % 2])
    mirrors = (MIRRORS, (), MIRRORS[:1], MIRRORS[1:])[index % 4]
    return Case(name, lengths, limits.rows(index), accepts, dtypes, mirrors)


def _special(limits: Limits, full: Case) -> list[Case]:
    """Batches that differ from one in a single respect. Without poison, what a refresh leaves out must be right."""
    most, page = limits.config.num_draft_tokens, limits.config.page_size
    base = _distinct(limits, [page + 1, most, 3 * page], [most, 0, 1])
    short = _distinct(limits, [2, page], [1, most])
    fewer = {"lengths": short.lengths, "accepts": short.accepts}
    more = fewer | {"lengths": limits.lengths([length + 1 for length in short.lengths])}
    unpoisoned = {"rows": _turned(base.rows), "poisoned": False}
    turned = {"lengths": _turned(base.lengths), "accepts": base.accepts and _turned(base.accepts)}
    special = {
        "distinct lengths": {},
        "the same batch again": {},
        "the same tensors again": {"in_place": True},
        "same tensors, new values": {**fewer, "rows": limits.rows(2), "in_place": True},
        "strided inputs": {"layout": "every second"},
        "other pool rows": {"rows": _turned(base.rows)},
        "the largest slots": {"slots": "the largest"},
        "slots of other requests": {"slots": "of the next row"},
        "one pool row for all": {"rows": (limits.pool - 1,) * limits.bs},
        "the same lengths in another order": turned,
        "host mirrors above the lengths": {"bound": limits.longest},
        "other lengths under equal host mirrors": {**fewer, "bound": limits.longest},
        "inputs behind other values": {"layout": "behind others"},
        "then only the later slots change": {"slots": "later pages of the next row", "poisoned": False},
        "then only the first ones": {"slots": "of the next row", "poisoned": False},
        "then only the pool rows": {"slots": "of the next row", **unpoisoned},
        "then only the order of the lengths": {"slots": "of the next row", **turned, **unpoisoned},
        "then fewer tokens": {**fewer, **unpoisoned},
        "then a token more, in other slots": {"slots": "of the next row", **more, **unpoisoned},
    }
    accepted = {
        "nothing accepted": [0],
        "everything accepted": [most],
        "accepted by the last request only": [*[0] * (limits.bs - 1), most],
        "accepted by all but the first": [0, *[most] * (limits.bs - 1)],
    }
    if limits.ragged:
        special |= {name: {"accepts": limits.accepts(cycle, base.lengths)} for name, cycle in accepted.items()}
    cases = [replace(base, name=name, **changes) for name, changes in special.items()]
    return [*cases, _padded(limits, replace(full, name="padded to the captured size"))]


def _distinct(limits: Limits, cycle: list[int], accepts: list[int]) -> Case:
    lengths = limits.lengths(cycle)
    return Case("", lengths, limits.rows(1), limits.accepts(accepts, lengths))


def _turned(values: tuple[int, ...]) -> tuple[int, ...]:
    """The same values, each one place further to the front."""
    return values[1:] + values[:1]


def _padded(limits: Limits, case: Case) -> Case:
    """The first half of a batch, padded as `ReplayBatch.padded` does."""
    kept, fill = (limits.bs + 1) // 2, limits.bs // 2
    ones = (1,) * fill
    accepts = None if case.accepts is None else case.accepts[:kept] + ones
    return replace(case, lengths=case.lengths[:kept] + ones, rows=case.rows[:kept] + (0,) * fill, accepts=accepts)


def _random_case(limits: Limits, seed: int) -> Case:
    chance = random.Random(seed)
    lengths = tuple(chance.randint(0, limits.longest) for _ in range(limits.bs))
    accepts = limits.accepts([chance.randint(0, limits.config.num_draft_tokens) for _ in range(limits.bs)], lengths)
    rows = tuple(chance.randrange(limits.pool) for _ in range(limits.bs))
    dtypes = (_DTYPES[seed % 2], _DTYPES[(seed + 1) % 2], _DTYPES[seed % 2])
    return Case(f"random, seed {seed}", lengths, rows, accepts, dtypes)
