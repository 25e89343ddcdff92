"""An audit at work: the captured sets, and one refresh after the other put to every check."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import torch

from ..batch import ReplayBatch
from ..config import ForwardMode, NSAConfig
from . import compare
from .captured_set import sms_of_schedule, surroundings
from .cases import Case, Limits, slots_of
from .report import Finding

Refresh = Callable[[ReplayBatch], object]

POISONS = (-0x5A5A5A5B, -0x21212122)  # no valid cell is negative; two, so that a constant fill cannot pass for both


class Session(compare.Comparison):
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
        num_slots: int,
    ) -> None:
        if config.paged_mqa_num_sms is None:  # a set that has the schedule is read by someone, asked for or not
            config = replace(config, paged_mqa_num_sms=sms_of_schedule(captured_sets[0]))
        super().__init__(captured_sets, config, req_to_token, mode, contract, bs)
        self.refresh, self.between, self.num_slots = refresh, between, num_slots
        self.around = surroundings(self.sets)
        self.batches_compared, self._previous, self._table = 0, None, req_to_token.clone()

    def close(self) -> None:
        for place in self.around:
            place.restore()

    def too_small(self) -> list[Finding]:
        return [finding for captured in self.sets for finding in compare.too_small(captured, self.room)]

    def at_capture(self, batches: Sequence[ReplayBatch]) -> list[Finding]:
        """Faults that stand before the first refresh, in the sets or with the batches to come."""
        constants = [compare.constant_cells(captured, self.rows) for captured in self.sets]
        blank = [{name: torch.full_like(t, POISONS[0]) for name, t in c.constants.items()} for c in self.sets]
        findings = list(compare.promised_cells(self.sets, constants, blank, self.contract))
        for captured in self.sets:
            findings += compare.fixed_cells(captured)
            for batch in (None, *batches):
                findings += compare.aliases(captured, batch, self.req_to_token)
        return findings

    def limits(self, **options: object) -> Limits:
        """What the narrowest table on the way admits. options: of `Limits`."""
        widths = [self.req_to_token.shape[1]]
        for captured in self.sets:
            tokens = {"page_table_1": 1, "real_page_table": self.config.page_size}  # in a column
            widths += [captured.tensors[name].shape[1] * tokens[name] for name in self.config.tables]
        longest = min(widths) - self.config.length_growth(self.mode, self.num_steps - 1)
        if longest < 1:
            raise ValueError(
                f"req_to_token has {widths[0]} columns, the narrowest table {min(widths)}: no room for one token "
                f"in {self.mode.name}; widen them"
            )
        return Limits(self.config, self.mode, self.bs, self.req_to_token.shape[0], longest, **options)

    def observe(self, case: Case, poison: int) -> list[Finding]:
        """Poison, refresh, compare; `req_to_token` is put back as it was."""
        batch = case.batch(self.req_to_token.device, self._previous)
        rows = torch.tensor(sorted(set(case.rows)), device=self.req_to_token.device)
        slots = slots_of(self._table, rows, self.config.page_size, self.num_slots)[case.slots]
        self.req_to_token[rows] = slots
        before = {name: tensor.clone() for name, tensor in tensors_of(batch).items()}
        try:
            findings = self._refresh(case, batch, poison)
        finally:
            written = self._put_back(rows, slots)
        findings += written + _changed_inputs(before, batch)
        for captured in self.sets:
            findings += compare.aliases(captured, batch, self.req_to_token)
        self.batches_compared, self._previous = self.batches_compared + 1, batch
        shown = replace(case, in_place=False, given=None).batch(torch.device("cpu"))
        return [replace(finding, batch=shown) for finding in findings]

    def _refresh(self, case: Case, batch: ReplayBatch, poison: int) -> list[Finding]:
        # Expected before the refresh, which may spoil what it reads.
        cells = self.expected(batch)
        before = self.poison(poison) if case.poisoned else self.snapshot()
        if self.between is not None:
            self.between()
        for place in self.around:
            place.poison(poison)
        try:
            self.refresh(batch)
        except Exception as error:  # whatever an engine raises is what the audit is about
            refusal = case.layout == "every second" and isinstance(error, (TypeError, ValueError))
            return [] if refusal else [Finding("raised", "", None, f"{type(error).__name__}: {error}")]
        return self.findings(cells, before) + list(compare.around(self.around, poison))

    def _put_back(self, rows: torch.Tensor, slots: torch.Tensor) -> list[Finding]:
        """Makes `req_to_token` what it was at first; `slots` is what `rows` of it were for the refresh."""
        changed = rows[(self.req_to_token[rows] != slots).any(1)].tolist()
        self.req_to_token[rows] = self._table[rows]
        changed += (self.req_to_token != self._table).any(1).nonzero().flatten().tolist()
        if not changed:
            return []
        self.req_to_token.copy_(self._table)
        message = f"the refresh wrote to rows {sorted(changed)} of req_to_token"
        return [Finding("input changed", "req_to_token", None, message)]


def tensors_of(batch: ReplayBatch) -> dict[str, torch.Tensor]:
    """By field, host mirrors included."""
    fields = {name: getattr(batch, name) for name in ReplayBatch.__dataclass_fields__}
    return {name: tensor for name, tensor in fields.items() if tensor is not None}


def _changed_inputs(before: dict[str, torch.Tensor], batch: ReplayBatch) -> list[Finding]:
    return [
        Finding("input changed", name, None, f"the refresh changed {name} from {was.tolist()} to {now.tolist()}")
        for name, now in tensors_of(batch).items()
        if not torch.equal(was := before[name], now)
    ]
