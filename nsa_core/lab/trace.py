"""Which batches a serving engine would replay under recorded traffic.

A small continuous-batching scheduler over request lengths and arrival times: a paged slot allocator, speculative
acceptance and a simulated clock, but no model. Prefill is not simulated: a request starts with its context committed.
"""

import csv
import math
import random
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib import resources

import torch

from ..batch import ReplayBatch
from ..config import ForwardMode, NSAConfig, require_int

_FILES = {"azure": "azure_conversation_2023.csv", "mooncake": "mooncake_conversation_2024.csv"}


@dataclass(frozen=True, slots=True)
class Request:
    """One line of a trace."""

    arrival_s: float
    context_tokens: int
    generated_tokens: int

    def __post_init__(self) -> None:
        for name in ("context_tokens", "generated_tokens"):
            require_int(name, getattr(self, name), 1)
        if not math.isfinite(self.arrival_s):
            raise ValueError(f"arrival_s must be finite, got {self}")


def names() -> tuple[str, ...]:
    """Traces that ship with the package; `nsa_core/lab/data/README.md` says where they come from."""
    return tuple(_FILES)


def requests(name: str) -> list[Request]:
    """The 3,000 requests of a shipped trace, in order of arrival."""
    if name not in _FILES:
        raise ValueError(f"name must be one of {', '.join(_FILES)}, got {name!r}")
    with (resources.files(__package__) / "data" / _FILES[name]).open(encoding="utf-8") as file:
        lines = csv.DictReader(file)
        return [Request(float(x["arrival_s"]), int(x["context_tokens"]), int(x["generated_tokens"])) for x in lines]


@dataclass(frozen=True, slots=True)
class TraceStep:
    """One replay of one iteration. `requests[i]` tells which of `TraceEngine.requests` entry i of the batch is."""

    mode: ForwardMode
    batch: ReplayBatch
    iteration: int
    time_s: float
    requests: tuple[int, ...]


class PagePool:
    """The slots of `req_to_token`: token t of a row lies in slot page * page_size + t % page_size.

    Pages are handed out last freed, first reused, from an order shuffled by the seed, as a long-running engine would
    leave it. Page 0 is never handed out: it belongs to row 0, which padded requests read.
    """

    def __init__(self, rows: int, width: int, page_size: int, num_pages: int | None, device: torch.device | str):
        self.page_size, self.width = page_size, width
        self.num_pages = (rows - 1) * self.pages_for(width) if num_pages is None else num_pages
        if (self.num_pages + 1) * page_size > 2**31:
            raise ValueError(f"num_pages {self.num_pages} of {page_size} slots pass int32 slots; lower num_pages")
        self.req_to_token = torch.zeros(rows, width, dtype=torch.int32, device=device)
        self._pages = torch.zeros(rows, self.pages_for(width), dtype=torch.int32)  # on the host: freed without a read
        self._offsets = torch.arange(page_size, dtype=torch.int32)

    def reset(self, seed: int) -> None:
        self.req_to_token.zero_()
        order = torch.randperm(self.num_pages, generator=torch.Generator().manual_seed(seed))
        self._free, self.free_pages = order.int() + 1, self.num_pages  # a stack; its top is free_pages
        self.unpromised, self._promised = self.num_pages, {}
        self._held = [0] * self._pages.shape[0]

    def free(self) -> list[int]:
        """Pages that nobody holds; the next one to be handed out stands last."""
        return self._free[: self.free_pages].tolist()

    def pages_for(self, tokens: int) -> int:
        return -(-tokens // self.page_size)

    def promise(self, row: int, pages: int) -> None:
        """Set aside all pages a row will ever hold, so that nobody is preempted later."""
        self._promised[row] = pages
        self.unpromised -= pages

    def grow(self, row: int, tokens: int) -> None:
        """Give a row slots for `tokens` tokens; only the slots of new pages are written."""
        held, needed = self._held[row], self.pages_for(tokens)
        if needed <= held:
            return
        self.free_pages -= needed - held
        new = self._free[self.free_pages : self.free_pages + needed - held]
        self._pages[row, held:needed] = new
        start = held * self.page_size
        slots = (new[:, None] * self.page_size + self._offsets).flatten()[: self.width - start]
        self.req_to_token[row, start : start + len(slots)] = slots.to(self.req_to_token.device)
        self._held[row] = needed

    def release(self, row: int) -> None:
        """Return a row's pages. The table keeps the old slots, as an engine's does."""
        held = self._held[row]
        self._free[self.free_pages : self.free_pages + held] = self._pages[row, :held]
        self.free_pages += held
        self.unpromised += self._promised.pop(row)
        self._held[row] = 0


@dataclass(slots=True)
class _Live:
    request: int
    row: int
    length: int
    remaining: int


class TraceEngine:
    """Iterates over the DECODE, TARGET_VERIFY and DRAFT_EXTEND replay of every iteration of a trace.

    Each `iter(engine)` starts over: the same seed gives the same steps in the same `req_to_token`. The table changes
    in place between steps, so use a step before asking for the next, and run one loop at a time.

    trace: a name from `names()`, or your own requests. Those that cannot fit the table or the pool are `left_out`.
    width: columns of the table; default `config.max_context_len` + lookahead.
    num_pages: pages of the pool; default enough for `max_batch` rows of `width`. Fewer make admission wait.
    lookahead: slots held beyond the lengths an iteration starts from; default d. With a step offset that a replay of
        N steps adds, it must be d + step_offset * N.
    iteration_s: simulated seconds per iteration. Arrivals are waited for; gaps with nothing to do are skipped.
    accept_rate: chance that a drafted token is accepted, given the ones before it were: accept lengths are
        1 + geometric, at most d and at most what the request still lacks. The default gives 2.95 of 4 on average;
        DeepSeek-V3's report (section 5.4.3) has 85 to 90 % for the first drafted token, later ones do worse.
    dtype: of `seq_lens` and `req_pool_indices`; accept lengths are int32. Host mirrors are copies, never aliases.
    """

    def __init__(
        self,
        trace: str | Sequence[Request],
        config: NSAConfig,
        *,
        max_batch: int = 32,
        width: int | None = None,
        num_pages: int | None = None,
        lookahead: int | None = None,
        iteration_s: float = 0.03,
        accept_rate: float = 0.8,
        seed: int = 0,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.int64,
        host_mirrors: bool = True,
    ):
        self.config, self.seed, self.dtype, self.host_mirrors = config, seed, dtype, host_mirrors
        self.iteration_s, self.accept_rate, self.max_batch = iteration_s, accept_rate, max_batch
        self.lookahead = config.num_draft_tokens if lookahead is None else lookahead
        self._check_settings()
        width = config.max_context_len + self.lookahead if width is None else width
        self.pool = PagePool(max_batch + 1, width, config.page_size, num_pages, device)
        asked = requests(trace) if isinstance(trace, str) else trace
        self.requests = tuple(sorted(filter(self._fits, asked), key=lambda r: r.arrival_s))
        self.left_out = len(asked) - len(self.requests)
        if not self.requests:
            raise ValueError(
                f"none of {len(asked)} requests fits width {width} and num_pages {self.pool.num_pages}; "
                "raise them, or give shorter requests"
            )

    @property
    def req_to_token(self) -> torch.Tensor:
        """int32 [max_batch + 1, width], the same storage for the engine's whole life; row 0 is for padding."""
        return self.pool.req_to_token

    def __iter__(self) -> Iterator[TraceStep]:
        self._start()
        while self._waiting or self._live:
            self._admit()
            yield from self._iterate()
            self._retire()

    def _check_settings(self) -> None:
        limits = {
            "max_batch": (1, float("inf")),
            "lookahead": (self.config.num_draft_tokens, float("inf")),
            "accept_rate": (0, 1),
            "iteration_s": (0, float("inf")),
        }
        for name, (least, most) in limits.items():
            if not least <= getattr(self, name) <= most:
                raise ValueError(f"{name} must lie in {least}..{most}, got {getattr(self, name)}")

    def _most_tokens(self, request: Request) -> int:
        return request.context_tokens + request.generated_tokens + self.lookahead

    def _most_pages(self, request: Request) -> int:
        return self.pool.pages_for(self._most_tokens(request))

    def _fits(self, request: Request) -> bool:
        return self._most_tokens(request) <= self.pool.width and self._most_pages(request) <= self.pool.num_pages

    def _start(self) -> None:
        self.pool.reset(self.seed)
        self._random = random.Random(self.seed)
        self._waiting, self._live = deque(range(len(self.requests))), []
        self._rows = list(range(self.max_batch, 0, -1))
        self._iteration, self._time_s = 0, 0.0

    def _admit(self) -> None:
        if not self._live:
            self._time_s = max(self._time_s, self.requests[self._waiting[0]].arrival_s)
        while self._waiting and self._can_start(self.requests[self._waiting[0]]):
            index, row = self._waiting.popleft(), self._rows.pop()
            request = self.requests[index]
            self.pool.promise(row, self._most_pages(request))
            self._live.append(_Live(index, row, request.context_tokens, request.generated_tokens))

    def _can_start(self, request: Request) -> bool:
        arrived = request.arrival_s <= self._time_s
        return arrived and bool(self._rows) and self._most_pages(request) <= self.pool.unpromised

    def _iterate(self) -> Iterator[TraceStep]:
        for live in self._live:
            self.pool.grow(live.row, live.length + self.lookahead)
        committed = self._batch()
        yield self._step(ForwardMode.DECODE, committed)
        yield self._step(ForwardMode.TARGET_VERIFY, committed)
        accepted = [self._accept(live) for live in self._live]
        yield self._step(ForwardMode.DRAFT_EXTEND, self._batch(accepted))

    def _accept(self, live: _Live) -> int:
        most, length = min(self.config.num_draft_tokens, live.remaining), 1
        while length < most and self._random.random() < self.accept_rate:
            length += 1
        live.length += length
        live.remaining -= length
        return length

    def _retire(self) -> None:
        for live in self._live:
            if not live.remaining:
                self.pool.release(live.row)
                self._rows.append(live.row)
        self._live = [live for live in self._live if live.remaining]
        self._iteration += 1
        self._time_s += self.iteration_s

    def _step(self, mode: ForwardMode, batch: ReplayBatch) -> TraceStep:
        return TraceStep(mode, batch, self._iteration, self._time_s, tuple(live.request for live in self._live))

    def _batch(self, accepted: list[int] | None = None) -> ReplayBatch:
        lengths, mirror = self._tensor([live.length for live in self._live], self.dtype)
        rows, _ = self._tensor([live.row for live in self._live], self.dtype)
        accepts = (None, None) if accepted is None else self._tensor(accepted, torch.int32)
        return ReplayBatch(lengths, rows, accepts[0], mirror, accepts[1])

    def _tensor(self, values: list[int], dtype: torch.dtype) -> tuple[torch.Tensor, torch.Tensor | None]:
        host = torch.tensor(values, dtype=dtype)
        return host.to(self.pool.req_to_token.device, copy=True), host if self.host_mirrors else None
