"""What an audit says: findings, each with the smallest batch that shows it, and a table of them."""

from collections.abc import Iterable
from dataclasses import dataclass, replace

from .. import show
from ..batch import ReplayBatch

KINDS = {
    "not refreshed": "a live cell kept what it held before the refresh",
    "wrong": "a live cell was written and differs from the oracle",
    "steps differ": "draft steps that must be equal hold different live cells",
    "written outside": "a cell outside the field's rows, columns or memory was written",
    "written late": "a cell or an input changed after the refresh had returned, by a thread or stream of its own",
    "leading zero lost": "the first entry of a cumulative field is no longer 0",
    "constant changed": "a field that is fixed at capture was written",
    "moved": "address, shape, stride or dtype changed since capture; a graph still reads the old cells",
    "aliases an input": "a captured field shares memory with a tensor of the caller",
    "input changed": "the refresh wrote to the batch or to req_to_token",
    "too small": "a field has no cells for a batch that req_to_token admits",
    "raised": "the refresh refused or failed on a valid batch",
    "error swallowed": "an error inside the refresh did not reach the caller",
    "not restored": "after an error inside a refresh the next refresh left live cells stale",
    "host synchronisation": "the host waited for the device inside the refresh, although the batch had host mirrors",
    "allocation": "the refresh took device memory that it keeps, or made the allocator ask the driver for more",
}


@dataclass(frozen=True)
class Finding:
    """One fault of one field in one draft step.

    kind: a key of `KINDS`. field: its name, objects taken apart with a dot; "" where no field is to blame.
    step: the draft step, None where all or none are to blame. message: one line with cell, value and rule.
    batch: the smallest batch found that shows it. after: the batch refreshed before it, where that one is needed too.
    batches: how many batches of the sequence showed it.
    """

    kind: str
    field: str
    step: int | None
    message: str
    batch: ReplayBatch | None = None
    after: ReplayBatch | None = None
    batches: int = 1


@dataclass(frozen=True, repr=False)
class AuditReport:
    """The outcome of one audit; `str()` of it is a table.

    batches: refreshes that were compared. allocations: device allocations of one refresh, served from PyTorch's cache
    (None on the CPU); temporaries are no fault. skipped: what could not be looked at here, and why.
    """

    findings: list[Finding]
    mode: str
    contract: str
    steps: int
    fields: tuple[str, ...]
    batches: int
    allocations: int | None = None
    skipped: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        return not self.findings

    @property
    def kinds(self) -> set[str]:
        return {finding.kind for finding in self.findings}

    def __str__(self) -> str:
        verdict, *notes = self._said()
        return "\n".join([verdict, *table(_HEADER, _rows(self.findings)), *notes])

    __repr__ = __str__

    def _repr_html_(self) -> str:
        return show.html("\n".join(self._said()), _rows(self.findings), _HEADER if self.findings else ())

    def _said(self) -> list[str]:
        """The verdict, then what else there is to know."""
        looked_at = f"{self.batches} batches x {self.steps} steps x {len(self.fields)} fields, {self.mode}"
        looked_at += f", contract {self.contract!r}"
        lines = [f"clean: {looked_at}" if self.ok else f"{len(self.findings)} findings in {looked_at}"]
        if self.allocations is not None:
            lines.append(f"allocations of one refresh, from PyTorch's cache: {self.allocations}")
        return lines + [f"not looked at: {reason}" for reason in self.skipped]


_HEADER = ("kind", "field", "step", "batches", "what, and the smallest batch")


def _rows(findings: Iterable[Finding]) -> list[tuple[str, ...]]:
    """One line per fault; steps that show the same one share it."""
    steps: dict[tuple[str, ...], list[int]] = {}
    for finding in findings:
        line = (finding.kind, finding.field or "-", str(finding.batches), _with_batch(finding))
        steps.setdefault(line, []).extend([] if finding.step is None else [finding.step])
    return [(kind, name, _span(at), batches, what) for (kind, name, batches, what), at in steps.items()]


def _span(steps: list[int]) -> str:
    if not steps:
        return "-"
    whole = steps == list(range(steps[0], steps[-1] + 1)) and len(steps) > 1
    return f"{steps[0]}-{steps[-1]}" if whole else ", ".join(map(str, steps))


def _with_batch(finding: Finding) -> str:
    after = "" if finding.after is None else f", after {describe_batch(finding.after)}"
    return finding.message + ("" if finding.batch is None else f"; {describe_batch(finding.batch)}{after}")


def table(header: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> list[str]:
    """Aligned lines; none when there are no rows."""
    rows = list(rows)
    widths = [max(len(row[column]) for row in [header, *rows]) for column in range(len(header))]
    lines = [[cell.ljust(width) for cell, width in zip(row, widths, strict=True)] for row in [header, *rows]]
    return ["  ".join(line).rstrip() for line in lines] if rows else []


def describe_batch(batch: ReplayBatch) -> str:
    """A batch as plain numbers, long ones cut."""
    parts = [f"seq_lens {_numbers(batch.seq_lens)} {str(batch.seq_lens.dtype).removeprefix('torch.')}"]
    parts.append(f"req_pool_indices {_numbers(batch.req_pool_indices)}")
    if batch.accept_length is not None:
        parts.append(f"accept_length {_numbers(batch.accept_length)}")
    if batch.seq_lens_cpu is not None and batch.seq_lens_cpu.tolist() != batch.seq_lens.tolist():
        parts.append(f"seq_lens_cpu {_numbers(batch.seq_lens_cpu)}")
    if not batch.seq_lens.is_contiguous():
        parts.append("strided")
    return ", ".join(parts)


def _numbers(values, most: int = 8) -> str:
    listed = values.tolist()
    return str(listed) if len(listed) <= most else f"[{', '.join(map(str, listed[:most]))}, ... {len(listed)} in all]"


Origin = tuple[object, object]  # what was refreshed, and what before it


class Findings:
    """Findings as they come in: one per kind, field and step, with the smallest batch of those that showed it."""

    def __init__(self) -> None:
        self._by_key: dict[tuple[str, str, int | None], tuple[Finding, Origin | None]] = {}

    def add(self, findings: Iterable[Finding], origin: Origin | None = None) -> None:
        """origin: to reproduce the findings with."""
        for new in findings:
            old, before = self._by_key.get(_key(new), (None, None))
            if old is None:
                self._by_key[_key(new)] = new, origin
            elif _tokens(new.batch) < _tokens(old.batch):
                self._by_key[_key(new)] = replace(new, batches=old.batches + 1), origin
            else:
                self._by_key[_key(new)] = replace(old, batches=old.batches + 1), before

    def replace(self, finding: Finding, by: Finding) -> None:
        self._by_key[_key(finding)] = by, self.origin(finding)

    def origin(self, finding: Finding) -> Origin | None:
        return self._by_key[_key(finding)][1]

    def listed(self) -> list[Finding]:
        """In the order of `KINDS`, then by field and step."""
        order = list(KINDS)
        findings = (finding for finding, _ in self._by_key.values())
        return sorted(findings, key=lambda f: (order.index(f.kind), f.field, -1 if f.step is None else f.step))


def _key(finding: Finding) -> tuple[str, str, int | None]:
    return finding.kind, finding.field, finding.step


def _tokens(batch: ReplayBatch | None) -> int:
    return 0 if batch is None else int(batch.seq_lens.sum())
