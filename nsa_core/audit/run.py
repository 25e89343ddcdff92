"""An audit at work: the captured sets, and one refresh after the other put to every check."""

from collections.abc import Callable, Sequence
from contextlib import contextmanager
from dataclasses import replace
from types import TracebackType

import torch

from ..batch import ReplayBatch
from ..config import ForwardMode, NSAConfig
from . import checks
from .cases import Case, Limits
from .expect import Question, Want, constants, wanted
from .held import Held, sms_of_schedule, surroundings
from .report import Finding

Refresh = Callable[[ReplayBatch], object]

POISONS = (-0x5A5A5A5B, -0x21212122)  # no valid cell is negative; two, so that a constant fill cannot pass for both


class Outcome:
    """`with Outcome() as outcome:` keeps an error of the block instead of passing it on."""

    error: Exception | None = None

    def __enter__(self) -> "Outcome":
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> bool:
        self.error = error if isinstance(error, Exception) else None
        return self.error is not None

    def said(self) -> str:
        return f"{type(self.error).__name__}: {self.error}"


class Run:
    """Captured sets under audit. Everything in them is overwritten; what lies around them is restored by `close`."""

    def __init__(
        self,
        refresh: Refresh,
        captured_sets: Sequence[object],
        config: NSAConfig,
        req_to_token: torch.Tensor,
        mode: ForwardMode,
        bs: int | None,
        contract: str,
        between: Callable[[], object] | None,
    ) -> None:
        if config.paged_mqa_num_sms is None:  # a set that has the schedule is read by someone, asked for or not
            config = replace(config, paged_mqa_num_sms=sms_of_schedule(captured_sets[0]))
        self.refresh, self.config, self.req_to_token, self.mode = refresh, config, req_to_token, mode
        self.contract, self.between, self.num_steps = contract, between, len(captured_sets)
        distinct = {id(source): (step, source) for step, source in reversed(list(enumerate(captured_sets)))}
        self.sets = [
            Held(step, source, config) for step, source in sorted(distinct.values(), key=lambda pair: pair[0])
        ]
        self.bs = self.sets[0].tensors["cache_seqlens_int32"].shape[0] if bs is None else bs
        self.cap = self.bs * config.rows_per_request(mode)
        self.around = surroundings(self.sets)
        self.compared, self._previous, self._rows = 0, None, self._row_sums()

    def _row_sums(self) -> torch.Tensor:
        return self.req_to_token.sum(1, dtype=torch.int64)

    def close(self) -> None:
        for place in self.around:
            place.restore()

    def capacity(self) -> list[Finding]:
        return [f for held in self.sets for f in checks.capacity(held, self.cap, self.bs, self.req_to_token.shape[1])]

    def at_capture(self, batches: Sequence[ReplayBatch]) -> list[Finding]:
        """Faults that stand before the first refresh, in the sets or with the batches to come."""
        wants = [constants(self.config, held, self.cap) for held in self.sets]
        found = list(checks.live_cells(wants, self.sets, POISONS[0]))
        for held in self.sets:
            found += [*checks.fixed_cells(held), *checks.aliases(held, None, self.req_to_token)]
            found += [f for batch in batches for f in checks.aliases(held, batch, self.req_to_token)]
        return found

    def at_end(self) -> list[Finding]:
        """Whether `req_to_token` is what it was."""
        changed = (self._row_sums() != self._rows).nonzero().flatten().tolist()
        said = f"the refresh wrote to rows {changed} of req_to_token"
        return [Finding("input changed", "req_to_token", None, said)] if changed else []

    def limits(self) -> Limits:
        """What the narrowest table on the way admits."""
        widths = [self.req_to_token.shape[1]]
        for held in self.sets:
            widths.append(held.tensors["page_table_1"].shape[1])
            widths.append(held.tensors["real_page_table"].shape[1] * self.config.page_size)
        longest = min(widths) - self.config.length_growth(self.mode, self.num_steps - 1)
        if longest < 1:
            raise ValueError(
                f"req_to_token has {widths[0]} columns, the narrowest table {min(widths)}: no room for one token "
                f"in {self.mode.name}; widen them"
            )
        return Limits(self.config, self.mode, self.bs, self.req_to_token.shape[0], longest)

    def observe(self, case: Case, poison: int, *, after_error: bool = False) -> list[Finding]:
        """Poison, refresh, compare. After an error the cells stay as the failed refresh left them."""
        batch = case.batch(self.req_to_token.device, self._previous)
        with self._slots(case):
            found = self._refresh(case, batch, poison, after_error)
        found += [f for held in self.sets for f in checks.aliases(held, batch, self.req_to_token)]
        found += _inputs(case, batch)
        self.compared, self._previous = self.compared + 1, batch
        shown = replace(case, in_place=False, given=None).batch(torch.device("cpu"))
        return [replace(finding, batch=shown) for finding in found]

    def _refresh(self, case: Case, batch: ReplayBatch, poison: int, after_error: bool) -> list[Finding]:
        question = Question(self.config, self.req_to_token, batch, self.mode, self.num_steps)
        wants = self._wants(question)  # before the refresh, which may spoil what it reads
        if not after_error:
            self.poison(poison)
        if self.between is not None:
            self.between()
        for place in self.around:
            place.poison(poison)
        with Outcome() as outcome:
            self.refresh(batch)
        if outcome.error is not None:
            refusal = case.strided and isinstance(outcome.error, (TypeError, ValueError))
            return [] if refusal else [Finding("raised", "", None, outcome.said())]
        found = self._live(wants, poison)
        if not after_error:
            for held, want in zip(self.sets, wants, strict=True):
                found += checks.inside(question, held, want, self.cap, self.contract, poison)
        return found + list(checks.around(self.around, poison))

    def poison(self, value: int) -> None:
        for held in self.sets:
            held.poison(value)

    def _wants(self, question: Question) -> list[dict[str, Want]]:
        """By step. Without a step offset all steps want the same; it is looked up once."""
        if self.config.step_offset:
            return [wanted(question, held) for held in self.sets]
        return [wanted(question, self.sets[0])] * len(self.sets)

    def _live(self, wants: list[dict[str, Want]], poison: int) -> list[Finding]:
        found = list(checks.live_cells(wants, self.sets, poison))
        if not self.config.step_offset:
            found += checks.equal_steps(wants, self.sets, {f.field for f in found})
        for held in self.sets:
            found += [*checks.fixed_cells(held), *checks.moved(held)]
        return found

    @contextmanager
    def _slots(self, case: Case):
        """With `moved_slots`, the contents of the requests' rows of `req_to_token` change places for a while."""
        rows = torch.tensor(sorted(set(case.rows)), device=self.req_to_token.device)
        kept = self.req_to_token[rows] if case.moved_slots else None
        if kept is not None:
            self.req_to_token[rows] = kept.roll(1, 0)
        try:
            yield
        finally:
            if kept is not None:
                self.req_to_token[rows] = kept


def _inputs(case: Case, batch: ReplayBatch) -> list[Finding]:
    given = {"seq_lens": case.lengths, "req_pool_indices": case.rows, "accept_length": case.accepts}
    return [
        Finding("input changed", name, None, f"the refresh changed {name} from {list(values)} to {now}")
        for name, values in given.items()
        if values is not None and (now := getattr(batch, name).tolist()) != list(values)
    ]
