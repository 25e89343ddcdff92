"""`audit`: the sequence of batches, then the probes, then the smallest batch for whatever was found."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import torch

from ..batch import ReplayBatch, require_req_to_token, validate
from ..config import ForwardMode, NSAConfig, require_int, require_mode
from . import probes
from .captured_set import TABLES
from .cases import MIRRORS, Case, default_cases
from .report import AuditReport, Finding, Findings
from .session import POISONS, Refresh, Session
from .shrink import smallest

CONTRACTS = ("live prefix", "exact")


def audit(
    refresh: Refresh,
    captured_sets: Sequence[object],
    config: NSAConfig,
    req_to_token: torch.Tensor,
    mode: ForwardMode,
    batches: Sequence[ReplayBatch] | None = None,
    *,
    contract: str = CONTRACTS[0],
    between: Callable[[], object] | None = None,
    num_slots: int = 2**31 - 1,
    fixed_width: bool = False,
    engine_batches: bool = False,
) -> AuditReport:
    """Drive `refresh(batch)` through batches chosen to hurt, and hold every captured cell against its rule.

    refresh: any callable, ours or an engine's, that brings every set of `captured_sets` up to date for a batch of the
        captured size. Engines pad a smaller batch first; so does the audit, as `ReplayBatch.padded`.
    captured_sets: one object per draft step with the fields of `NSAMetadata` as attributes (`nsa_*` or `dsa_*`).
        Their cells are poisoned and overwritten: audit before serving, not beside it. A set that has a
        `paged_mqa_schedule_metadata` must keep it in step with `nsa_seqlens_expanded`.
    req_to_token: for some batches the rows of their requests hold other slots; afterwards it is as it was.
    batches: instead of the default sequence; all of one size, the captured one. Else `cache_seqlens_int32` tells it.
    contract: "live prefix": each row must be right up to its own length, and a refresh may write any captured row
        and all of `req_to_token`'s columns. "exact": rows [:E] and columns [:L] must be
        right and no others written; L is that of the longest request, as the host mirror gives it. Under both,
        leading zeros, constants, and the memory between and around the fields are out of bounds.
    num_slots: of the KV cache. Slots up to the last one are handed out, so a refresh that also reads the cache, as a
        whole engine does, must name its size: past the end a gather on a GPU ends the process.
    between: called before every refresh, to replay other batch sizes or modes in turn, as a serving engine would.
    fixed_width: draft extend only: no batch has accept lengths, every request brings `num_draft_tokens` rows.
    engine_batches: keep the default sequence to what SGLang's graph runner forms: every request has a token and
        brings a row to draft extend, host mirrors are equal to the lengths, inputs are contiguous.

    Values, addresses and errors are looked at everywhere. On CUDA also synchronisation (with host mirrors given, a
    refresh has no reason to wait) and memory (what is kept; temporaries from PyTorch's cache are only counted).
    Raises TypeError or ValueError where the arguments cannot be audited; what `refresh` raises becomes a finding.
    """
    _require(captured_sets, mode, contract)
    require_req_to_token(req_to_token)
    require_int("num_slots", num_slots, 1)
    if fixed_width and not mode.is_draft_extend():
        raise ValueError(f"fixed_width is a form of draft extend, but mode is {mode.name}; leave it out")
    if batches is not None:
        _require_batches(batches, config, req_to_token, mode, len(captured_sets), fixed_width)
    bs = None if batches is None else batches[0].bs
    session = Session(refresh, captured_sets, config, req_to_token, mode, bs, contract, between, num_slots)
    findings, skipped, counted = Findings(), ("any refresh: these sets cannot be poisoned and compared",), None
    if _can_begin(session, findings, batches or ()):
        limits = session.limits(fixed_width=fixed_width, engine_batches=engine_batches)
        cases = default_cases(limits) if batches is None else [Case.of(b, i) for i, b in enumerate(batches)]
        try:
            _run_sequence(session, cases, findings)
            skipped, counted = _probe(session, *_for_probes(cases), findings)
            _shrink(session, findings)
        finally:
            session.close()
    return AuditReport(
        findings.listed(),
        mode.name,
        contract,
        len(captured_sets),
        tuple(session.sets[0].tensors),
        session.batches_compared,
        counted,
        skipped,
    )


def _can_begin(session: Session, findings: Findings, batches: Sequence[ReplayBatch]) -> bool:
    """Whether nothing of the caller would be poisoned with the sets, and every row has cells."""
    findings.add(session.too_small())
    if not all(_is_narrow_table(session, finding) for finding in findings.listed()):
        return False
    findings.add(session.at_capture(batches))
    return "aliases an input" not in {finding.kind for finding in findings.listed()}


def _require(captured_sets: Sequence[object], mode: ForwardMode, contract: str) -> None:
    require_mode(mode)
    if contract not in CONTRACTS:
        raise ValueError(f"contract must be one of {', '.join(map(repr, CONTRACTS))}, got {contract!r}")
    if not captured_sets:
        raise ValueError("captured_sets is empty; give one set per draft step")


def _require_batches(
    batches: object,
    config: NSAConfig,
    req_to_token: torch.Tensor,
    mode: ForwardMode,
    num_steps: int,
    fixed_width: bool,
) -> None:
    """Raise TypeError or ValueError, with the entry's index, unless a replay could be given each of them."""
    if not isinstance(batches, Sequence):
        raise TypeError(f"batches must be a list of ReplayBatch, got {batches!r}")
    width = req_to_token.shape[1]
    for i, batch in enumerate(batches):
        try:
            validate(config, req_to_token, batch, mode, width=width, num_steps=num_steps, read_values=True)
        except (TypeError, ValueError) as error:
            raise type(error)(f"batches[{i}]: {error}") from error
        if fixed_width and batch.accept_length is not None:
            raise ValueError(f"batches[{i}]: accept_length is given, but fixed_width is True; leave out one of them")
    if len({batch.bs for batch in batches}) != 1:
        raise ValueError(f"batches have sizes {[batch.bs for batch in batches]}; give at least one, all of one size")


def _is_narrow_table(session: Session, finding: Finding) -> bool:
    """Whether an audit can go on with a field that is too small: as long as every row has cells."""
    return finding.field in TABLES and session.sets[0].tensors[finding.field].shape[0] >= session.rows


def _run_sequence(session: Session, cases: Sequence[Case], findings: Findings) -> None:
    after = None
    for i, case in enumerate(cases):
        findings.add(session.observe(case, POISONS[i % 2]), (case, after))
        after = case


def _for_probes(cases: Sequence[Case]) -> tuple[Case, Case]:
    """Two batches of the sequence, with host mirrors."""
    changes = {"given": None, "in_place": False, "mirrors": MIRRORS, "poisoned": True}
    return tuple(replace(case, **changes) for case in (cases[-1], cases[0]))


def _probe(session: Session, case: Case, other: Case, findings: Findings) -> tuple[tuple[str, ...], int | None]:
    """Returns what could not be looked at, and the allocations of one refresh on CUDA."""
    if any(finding.kind == "raised" for finding in findings.listed()):
        return ("errors inside the refresh, synchronisation and memory: it fails on valid batches as it is",), None
    findings.add(probes.late(session, case))
    operations = probes.operations(session, case)
    known = {(finding.field, finding.step) for finding in findings.listed()}
    findings.add(probes.errors(session, case, operations))
    findings.add(f for f in probes.repairs(session, case, other, operations) if (f.field, f.step) not in known)
    skipped = () if operations else ("errors inside the refresh: it runs no PyTorch operation that could be failed",)
    if not session.req_to_token.is_cuda:
        return (*skipped, "synchronisation and memory: no CUDA device holds these sets"), None
    findings.add(probes.device(session, case))
    return skipped, probes.allocations(session, case)


def _shrink(session: Session, findings: Findings) -> None:
    """One search per kind and field; its other steps show with the same batch, as a rule."""
    groups: dict[tuple[str, str], list[Finding]] = {}
    for finding in findings.listed():
        if findings.origin(finding) is not None:
            groups.setdefault((finding.kind, finding.field), []).append(finding)
    for group in groups.values():
        case, after = findings.origin(group[0])
        for finding, small in zip(group, smallest(session, group, case, after), strict=True):
            findings.replace(finding, small)
