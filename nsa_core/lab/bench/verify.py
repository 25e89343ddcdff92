"""Does a replay hold what the oracle says, on the very inputs that are about to be timed?"""

from collections.abc import Callable, Sequence

from nsa_core import MultiStepBackend
from nsa_core.audit.compare import Comparison
from nsa_core.audit.oracle import Cells

from .cases import BenchCase, CaseInputs

POISON = -7  # no field can hold it


class Gate:
    """Checks the strategies of one case. Expected cells are computed once per number of captured sets."""

    def __init__(self, case: BenchCase, inputs: CaseInputs) -> None:
        self.case, self.inputs = case, inputs
        self._expected: dict[int, list[dict[str, Cells]]] = {}

    def replayed(self, backend: MultiStepBackend, call: Callable[[], object], contract: str) -> list[str]:
        """Poison every set, make a call, and compare all N sets with the oracle; then once more.

        Twice, because a strategy may take a shorter way when it sees a batch again, and that way is what is timed.
        """
        sets = backend.sets(self.inputs.batch.bs, self.case.mode)
        return self.differences(sets, contract, call) or self.differences(sets, contract, call)

    def differences(self, sets: Sequence[object], contract: str, call: Callable[[], object]) -> list[str]:
        """What is wrong after a call that refreshes poisoned `sets`, one line each."""
        given = self.inputs
        comparison = Comparison(sets, self.case.config, given.req_to_token, self.case.mode, contract)
        count = len(comparison.sets)
        if count not in self._expected:
            self._expected[count] = comparison.expected(given.batch)
        before = comparison.poison(POISON)
        call()
        findings = comparison.findings(self._expected[count], before)
        return [f"step {finding.step}: {finding.message}" for finding in findings]

    def cells(self, contract: str) -> int:
        """How many cells of all steps are compared."""
        per_step = [sum(int(c.promised(contract).sum()) for c in step.values()) for step in self._expected_steps()]
        return sum(per_step) * (1 if self.case.step_offset else self.case.steps)

    def _expected_steps(self) -> list[dict[str, Cells]]:
        cells = max(self._expected.values(), key=len)
        return cells if self.case.step_offset else cells[:1]
