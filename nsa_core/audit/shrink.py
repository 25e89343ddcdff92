"""The smallest batch that still shows a fault."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

import torch

from .cases import Case
from .report import Finding
from .session import POISONS, Session

_WORK = 100_000_000  # cells poisoned and compared per fault while looking for a smaller batch
_ROW = 10_000  # cells that the oracle's work on one row is worth
_MOST_TRIALS, _FEWEST_TRIALS = 60, 6


def smallest(session: Session, findings: Sequence[Finding], case: Case, after: Case | None) -> list[Finding]:
    """Findings of one kind and field, each with the smallest batch that reproduces it, and the one needed before it.

    A greedy search of bounded length, led by the first finding: lengths become 1 in groups, then single lengths
    shrink to an edge. What another step does not show with the batch found keeps its own.
    """
    trials = _Trials(session, findings[0])
    case = replace(case, in_place=False, given=None)
    if not trials.shows(replace(case, poisoned=True), None) and not (after is not None and trials.shows(case, after)):
        return list(findings)  # it takes more than two batches to show
    for smaller in _smaller(session, trials):
        if not trials.shows(smaller, trials.after) and trials.after is not None:
            trials.shows(smaller, replace(trials.after, lengths=smaller.lengths, accepts=smaller.accepts))
    shown = {finding.step: finding for finding in trials.shown}
    return [replace(shown.get(finding.step, finding), batches=finding.batches) for finding in findings]


class _Trials:
    """shown, case, after: what the smallest batch so far came back with, that batch, and the one before it."""

    def __init__(self, session: Session, finding: Finding) -> None:
        cells = sum(t.numel() for captured in session.sets for t in captured.tensors.values())
        self.session, self.finding, self.shown = session, finding, []
        self.case, self.after = None, None
        self.left = min(_MOST_TRIALS, max(_WORK // (cells + _ROW * session.rows), _FEWEST_TRIALS))

    def shows(self, case: Case, after: Case | None) -> bool:
        if self.left <= 0:
            return False
        self.left -= 1
        if after is not None:
            after = replace(after, given=None, in_place=False, poisoned=True)
            self.session.observe(after, POISONS[1])
        findings = self.session.observe(case, POISONS[0])
        alike = [f for f in findings if (f.kind, f.field) == (self.finding.kind, self.finding.field)]
        if self.finding.step not in {f.step for f in alike}:
            return False
        before = None if after is None else after.batch(torch.device("cpu"))
        self.case, self.after, self.shown = case, after, [replace(f, after=before) for f in alike]
        return True


def _smaller(session: Session, trials: _Trials) -> Iterator[Case]:
    """Candidates, each made from the smallest case so far."""
    group = session.bs
    while group >= 1:
        for begin in range(0, session.bs, group):
            yield _with(trials.case, range(begin, min(begin + group, session.bs)), 1)
        group //= 2
    config = session.config
    edges = sorted({2, 65, 257, config.page_size + 1, config.index_topk, config.index_topk + 1})
    for request in range(session.bs):
        for edge in edges:
            if edge < trials.case.lengths[request]:
                yield _with(trials.case, [request], edge)


def _with(case: Case, requests, length: int) -> Case:
    lengths = tuple(min(length, old) if i in requests else old for i, old in enumerate(case.lengths))
    accepts = case.accepts and tuple(min(a, n) for a, n in zip(case.accepts, lengths, strict=True))
    return replace(case, lengths=lengths, accepts=accepts)
