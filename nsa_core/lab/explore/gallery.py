"""A tiny engine whose refresh can be broken on purpose. A slot names its request: A has 100s, B has 200s."""

import re
from collections.abc import Callable, Sequence

import torch
from pandas import DataFrame

import nsa_core as nsa

from ... import ForwardMode, MultiStepBackend, NSAConfig, NSAMetadata, ReplayBatch
from ...audit import Finding, audit
from ...audit.compare import Comparison
from ...audit.report import AuditReport
from ...metadata import LEADING_ZERO
from .observe import PER_REQUEST
from .picture import HUES
from .pictures.tables import Table

STEPS = 4
_ROWS = {"A": 1, "B": 2, "C": 3}  # of req_to_token; padded requests read row 0
_NEVER_WRITTEN, _DOT = -1, "\u00b7"  # shown as a dot, as in the explorer
_PAGE = 4  # slots
_SHOWN = (
    "cache_seqlens_int32",
    "nsa_seqlens_expanded",
    "nsa_cache_seqlens_int32",
    "cu_seqlens_k",
    "nsa_cu_seqlens_k",
    "page_table_1",
    "real_page_table",
)
_COLUMNS = tuple(map(str, range(12)))

Refresh = Callable[[ReplayBatch], object]
Fault = Callable[[ReplayBatch, Refresh, list[NSAMetadata]], object]


class TinyEngine:
    """Captured sets, a correct `replay` of them, and a fault around it.

    fault: called with the batch, the correct replay and the sets. It does nearly what it should.
    """

    def __init__(
        self, fault: Fault, mode: ForwardMode = ForwardMode.DECODE, bs: int = 2, width: int = 12, **config: object
    ) -> None:
        first_slots = torch.arange(4, dtype=torch.int32) * (100 if width <= 100 else 10_000)
        self.req_to_token = first_slots.unsqueeze(1) + torch.arange(width, dtype=torch.int32)
        self.config, self.mode, self.bs = NSAConfig(**{"page_size": _PAGE, "index_topk": 8} | config), mode, bs
        self.backend = MultiStepBackend(self.config, self.req_to_token, STEPS)
        self.sets, self._fault = self.backend.capture(bs, mode), fault

    def refresh(self, batch: ReplayBatch) -> None:
        self._fault(batch, lambda batch: self.backend.replay(batch, self.mode), self.sets)

    def serve(self, *batches: ReplayBatch) -> list[Finding]:
        """Correct replays, then a faulty one for the last batch; what is wrong after it, as the audit compares."""
        comparison = Comparison(self.sets, self.config, self.req_to_token, self.mode, "live prefix", self.bs)
        comparison.poison(_NEVER_WRITTEN)
        for batch in batches[:-1]:
            self.backend.replay(batch.padded(self.bs), self.mode)
        before, last = comparison.snapshot(), batches[-1].padded(self.bs)
        self.refresh(last)
        return comparison.findings(comparison.expected(last), before)

    def audit(self) -> Finding:
        """The first thing an audit of this engine's refresh finds."""
        return audit(self.refresh, self.sets, self.config, self.req_to_token, self.mode).findings[0]


def batch(**tokens: int) -> ReplayBatch:
    """`batch(B=4, A=7)`: request B with 4 tokens, then A with 7; `accepted_B=2` for draft extend."""
    lengths = {name: n for name, n in tokens.items() if not name.startswith("accepted_")}
    accepted = [n for name, n in tokens.items() if name.startswith("accepted_")]
    rows = [_ROWS[name] for name in lengths]
    return ReplayBatch(
        torch.tensor([*lengths.values()]), torch.tensor(rows), torch.tensor(accepted) if accepted else None
    )


class _Grid(Table):
    """Arrays, a line each; the cells of page tables in the colour of the request whose slots they are."""

    look = [
        {"selector": "", "props": "border-collapse: collapse"},
        {"selector": "th, td", "props": "padding: 3px 6px; font-size: 90%; font-variant-numeric: tabular-nums"},
    ]

    def _sides(self, frame: DataFrame) -> list[dict]:
        rules = {}
        for at, line in enumerate(self.shown):
            slots = {"page_table_1": 1, "real_page_table": _PAGE}.get(line["array"].partition("[")[0])
            for column in filter(str.isdigit, line if slots else ()):
                owner = int(line[column]) * slots // 100 if line[column].isdigit() else 0
                rules.setdefault(owner, []).append(f".row{at}.col{list(line).index(column)}")
        hues = [(owner, "rgba({}, {}, {}, 0.3)".format(*HUES[owner - 1])) for owner in sorted(rules) if owner]
        colours = [{"selector": ", ".join(rules[at]), "props": f"background-color: {hue}"} for at, hue in hues]
        return super()._sides(frame) + colours


def array_table(captured: NSAMetadata, requests: str) -> Table:
    """What a debugger would show of a set. requests: of its rows, in order: "BA", "AAB", "-" for a padded one."""
    lines = []
    for name in _SHOWN:
        values, of_all = getattr(captured, name), dict.fromkeys(requests) if name in PER_REQUEST else requests
        if values.dim() > 1:
            lines += [(f"{name}[{at}]", requests[at], entries) for at, entries in enumerate(values.tolist())]
        else:
            lines.append((name, "" if name in LEADING_ZERO else ", ".join(of_all), values.tolist()))
    columns = _COLUMNS[: max(len(entries) for *_, entries in lines)]
    return _Grid([_line(*line, columns) for line in lines], columns, (), "")


def _line(array: str, request: str, entries: list[int], columns: Sequence[str]) -> dict[str, str]:
    cells = [_DOT if entry == _NEVER_WRITTEN else str(entry) for entry in entries]
    empty = [""] * (len(columns) - len(cells))
    return {"array": array, "request": request} | dict(zip(columns, cells + empty, strict=True))


def plan_table(sets: list[NSAMetadata]) -> Table:
    """The plan of every draft step: where each multiprocessor begins, and where the last one ends."""
    rows = []
    for step, captured in enumerate(sets):
        *begins, end = map(str, captured.paged_mqa_schedule_metadata.tolist())
        rows.append(
            {"draft step": str(step)}
            | {f"multiprocessor {at}": entry for at, entry in enumerate(begins)}
            | {"end": end}
        )
    return Table(rows, (), (), "")


def cell_of(finding: Finding) -> str:
    """The cell that a finding names, `page_table_1[0, 4]`."""
    return re.match(r"[\w.]+\[[^\]]*\]", finding.message)[0]


def audited(mode: ForwardMode = ForwardMode.DECODE, **config: object) -> Callable[[str], AuditReport]:
    """A judge for `quiz.repair`: what the audit says of the `refresh(batch)` that a program defines."""

    def judge(program: str) -> AuditReport:
        engine = TinyEngine(None, mode=mode, **config)
        given = {"config": engine.config, "req_to_token": engine.req_to_token, "sets": engine.sets}
        names = {"nsa": nsa, "torch": torch, mode.name: mode, **given}
        exec(program, names)
        return audit(names["refresh"], engine.sets, engine.config, engine.req_to_token, mode)

    return judge
