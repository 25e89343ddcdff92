"""The note's claims with their verdicts: a table to filter, and the same as a picture. No verdict is typed here."""

import html
import textwrap
from collections import Counter
from collections.abc import Sequence

import ipywidgets as W
from matplotlib.patches import Rectangle

from ..decision.claims import HELD, HOST, JUDGEMENT, NOT_HELD, NOT_TESTABLE, OTHER, Ruling
from .chart import EDGE, SMALL, Chart, caption, figure, legend
from .form import WRAP, StaticForm
from .palette import SIGNS

# Apart for every kind of colour blindness, as in the palette; the sign says the same without colour.
VERDICT_COLOURS = {
    HELD: "#0173b2",
    NOT_HELD: "#dd7f00",
    JUDGEMENT: "#a8a8a8",
    HOST: "#9fd0f2",
    OTHER: "#111111",
    NOT_TESTABLE: "#ffffff",
}
INK = {verdict: "white" if verdict in (HELD, OTHER) else "black" for verdict in VERDICT_COLOURS}
ALL = "all"
TEXT = "text-align: left; padding: 2px 6px"
COLUMNS = ("claim", "verdict", "the note claims", "result", "what is measured", "what would change it")
CLAIM_CHARACTERS, MEASURED_CHARACTERS, LINE_INCHES = 70, 74, 0.125


def counted(findings: Sequence[Ruling]) -> str:
    """How many claims have each verdict."""
    counts = Counter(finding.verdict for finding in findings)
    return ", ".join(f"{counts[verdict]} {verdict}" for verdict in VERDICT_COLOURS if counts[verdict])


def chosen(
    findings: Sequence[Ruling], verdict: str = ALL, kind: str = ALL, machine: str = ALL, find: str = ""
) -> list[Ruling]:
    """The findings of a verdict, a kind and a machine whose text, test or number contains `find`."""
    wanted = (verdict, machine, kind)
    return [
        finding
        for finding in findings
        if all(value in (ALL, own) for value, own in zip(wanted, _keys(finding), strict=True))
        and find.casefold() in _words(finding).casefold()
    ]


def _keys(finding: Ruling) -> tuple[str, str, str]:
    return finding.verdict, finding.machine, finding.claim.kind


def _words(finding: Ruling) -> str:
    claim = finding.claim
    return " ".join([claim.id, claim.text, claim.test, finding.number, claim.remark, claim.changes])


def table(findings: Sequence[Ruling]) -> str:
    """An HTML table, a line per finding. Every text of it is escaped."""
    head = "".join(f'<th scope="col" style="{TEXT}">{name}</th>' for name in COLUMNS)
    body = "".join(map(_line, findings))
    return f'<table style="line-height: 1.3"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>'


def _line(finding: Ruling) -> str:
    claim, verdict = finding.claim, finding.verdict
    colour = f"background: {VERDICT_COLOURS[verdict]}; color: {INK[verdict]}; white-space: nowrap; {TEXT}"
    cells = [f'<th scope="row">{claim.id}</th>', f'<td style="{colour}">{SIGNS[verdict]} {html.escape(verdict)}</td>']
    result = f"{finding.number}. {claim.remark}" if claim.remark else finding.number
    texts = (claim.text, result, claim.test, claim.changes)
    cells += [f'<td style="{TEXT}">{html.escape(text)}</td>' for text in texts]
    return f"<tr>{''.join(cells)}</tr>"


class Ledger(StaticForm):
    """Live filters in a notebook; the whole table everywhere else."""

    def __init__(self, findings: Sequence[Ruling]):
        super().__init__(_controls(findings))
        self.findings, self.status = list(findings), W.HTML()
        for control in self.controls.values():
            control.observe(self._show, "value")
        self._show()
        self.children = [W.HBox(list(self.controls.values()), layout=WRAP), self.status, self.text]

    def _show(self, _change: object = None) -> None:
        self.shown = chosen(self.findings, **{name: control.value for name, control in self.controls.items()})
        ids = ", ".join(finding.claim.id for finding in self.shown)
        self.summary = f"{len(self.shown)} of {len(self.findings)} claims: {counted(self.shown) or 'none'}. {ids}"
        self.status.value = f'<div role="status">{html.escape(self.summary)}</div>'
        self.text.value = table(self.shown)

    def _static(self) -> tuple[dict, dict]:
        return {"text/plain": self.summary, "text/html": self.text.value}, {}


def _controls(findings: Sequence[Ruling]) -> dict[str, W.ValueWidget]:
    columns = zip(("verdict", "machine", "kind"), zip(*map(_keys, findings), strict=True), strict=True)
    controls = {name: W.Dropdown(options=[ALL, *dict.fromkeys(values)], description=name) for name, values in columns}
    return controls | {"find": W.Text(description="find", placeholder="a word", continuous_update=False)}


def overview(findings: Sequence[Ruling], conditions: str) -> Chart:
    """Every claim, its verdict and the number behind it, in one picture."""
    lines = [
        (f, textwrap.wrap(f.claim.text, CLAIM_CHARACTERS), textwrap.wrap(f.number, MEASURED_CHARACTERS))
        for f in findings
    ]
    heights = [max(len(claim), len(number)) + 0.6 for _, claim, number in lines]
    fig = figure(LINE_INCHES * (sum(heights) + 5))
    ax, top = fig.subplots(), 0.0
    for (finding, claim, number), height in zip(lines, heights, strict=True):
        _draw_line(ax, top, height, finding, "\n".join(claim), "\n".join(number))
        top += height
    ax.set(xlim=(0, 1), ylim=(top, 0))
    ax.axis("off")
    present = [verdict for verdict in VERDICT_COLOURS if any(f.verdict == verdict for f in findings)]
    named = {f"{SIGNS[verdict]} {verdict}": VERDICT_COLOURS[verdict] for verdict in present}
    legend(fig, named, "upper center", 6, title="the note's claims (left), and what was measured (right)")
    caption(fig, conditions)
    return Chart(fig, [f"{len(findings)} claims: {counted(findings)}", conditions])


def _draw_line(ax, top: float, height: float, finding: Ruling, claim: str, number: str) -> None:
    verdict, middle = finding.verdict, top + height / 2
    tile = Rectangle((0, top + 0.1), 0.045, height - 0.2, facecolor=VERDICT_COLOURS[verdict], edgecolor=EDGE, lw=0.6)
    ax.add_patch(tile)
    style = {"va": "center", "fontsize": SMALL, "linespacing": 1.05}
    ax.text(0.0225, middle, f"{SIGNS[verdict]} {finding.claim.id}", ha="center", color=INK[verdict], **style)
    ax.text(0.055, middle, claim, **style)
    ax.text(0.52, middle, number, **style)
