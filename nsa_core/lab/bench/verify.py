"""Does a replay hold what the oracle says, on the very inputs that are about to be timed?"""

from collections.abc import Callable
from dataclasses import fields

import torch

from nsa_core import MultiStepBackend, NSAMetadata, schedule_flashmla
from nsa_core.audit.oracle import Cells, differences, expected

from .cases import BenchCase, CaseInputs

POISON = -7  # no field can hold it
_VECTORS_WITH_LEADING_ZERO = ("cu_seqlens_k", "nsa_cu_seqlens_k")


class Gate:
    """Checks the strategies of one case. Expected cells are computed once per contract and distinct step."""

    def __init__(self, case: BenchCase, inputs: CaseInputs) -> None:
        self.case, self.inputs = case, inputs
        self._expected: dict[tuple[str, int], dict[str, Cells]] = {}

    def replayed(self, backend: MultiStepBackend, call: Callable[[], object], contract: str) -> list[str]:
        """Poison every set, make a call, and compare all N sets with the oracle; then once more.

        Twice, because a strategy may take a shorter way when it sees a batch again, and that way is what is timed.
        """
        sets = backend.sets(self.inputs.batch.bs, self.case.mode)
        return self._after(call, sets, contract) or self._after(call, sets, contract)

    def _after(self, call: Callable[[], object], sets: list[NSAMetadata], contract: str) -> list[str]:
        for captured in sets:
            poison(captured, self.case.config.flashmla_dense)
        call()
        return self.differences(sets, contract)

    def differences(self, sets: list[NSAMetadata], contract: str) -> list[str]:
        lines = []
        for step, captured in enumerate(sets):
            wrong = differences(captured, self._cells(contract, step, captured), None) + self._schedule(captured)
            lines += [f"step {step}: {line}" for line in wrong]
        return lines

    def cells(self, contract: str) -> int:
        """How many cells of all steps `differences` compares."""
        return sum(
            int(c.mask.sum()) for key, cells in self._expected.items() if key[0] == contract for c in cells.values()
        ) * (1 if self.case.step_offset else self.case.steps)

    def _cells(self, contract: str, step: int, captured: NSAMetadata) -> dict[str, Cells]:
        key = (contract, step if self.case.step_offset else 0)
        if key not in self._expected:
            case, given = self.case, self.inputs
            self._expected[key] = expected(
                case.config,
                given.req_to_token,
                given.batch,
                case.mode,
                captured,
                contract=contract,
                step=step,
                num_steps=case.steps,
            )
        return self._expected[key]

    def _schedule(self, captured: NSAMetadata) -> list[str]:
        if captured.flashmla_metadata is None:
            return []
        config, have = self.case.config, captured.flashmla_metadata
        # dense: of the rows in use; sparse: written at capture, for every captured row
        rows = self._live_rows() if config.flashmla_dense else captured.nsa_cache_seqlens_int32.shape[0]
        lengths = captured.nsa_cache_seqlens_int32[:rows]
        want = schedule_flashmla(lengths, config.flashmla_num_sm_parts, config.flashmla_topk)
        pairs = (
            ("flashmla_metadata", have.flashmla_metadata[:, :5], want.flashmla_metadata[:, :5]),  # 5..7: unused
            ("num_splits", have.num_splits[: rows + 1], want.num_splits),
        )
        return [
            f"flashmla_metadata.{name} is not the schedule of the lengths"
            for name, is_, should in pairs
            if not torch.equal(is_, should)
        ]

    def _live_rows(self) -> int:
        accepts = self.inputs.accepts
        per_request = self.case.config.rows_per_request(self.case.mode)
        return len(self.inputs.lengths) * per_request if accepts is None else sum(accepts)


def poison(captured: NSAMetadata, dense: bool) -> None:
    """Fill everything a replay writes, so that a cell nobody writes is noticed. Leading zeros and constants stay."""
    constant = ("cu_seqlens_q", "nsa_cu_seqlens_q", "flashmla_metadata")
    for field in fields(captured):
        value = getattr(captured, field.name)
        if field.name not in constant and value is not None:
            value.fill_(POISON)
    for name in _VECTORS_WITH_LEADING_ZERO:
        getattr(captured, name)[:1].zero_()
    if dense:
        captured.flashmla_metadata.flashmla_metadata.fill_(POISON)
        captured.flashmla_metadata.num_splits.fill_(POISON)
