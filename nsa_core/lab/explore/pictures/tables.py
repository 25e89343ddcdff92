"""A table as readers want it: three digits, units in the header, the row that matters marked."""

import hashlib
import html
from collections.abc import Collection, Mapping, Sequence

import pandas

from ...bench.report import text
from .live import three

SENTENCE = 20  # characters of a cell that may wrap
LINE = "rgba(128, 128, 128, {})"  # on a light ground and on a dark one
MARKED = "font-weight: bold; background-color: rgba(128, 128, 128, 0.12)"
LOOK = [
    {"selector": "", "props": "border-collapse: collapse"},
    {"selector": "th, td", "props": "padding: 5px 10px; vertical-align: top"},
    {"selector": "th", "props": f"border-bottom: 1px solid {LINE.format(0.6)}"},
    {"selector": "td", "props": f"border-bottom: 1px solid {LINE.format(0.2)}"},
    {"selector": "caption", "props": "caption-side: bottom; text-align: left; padding: 4px 8px; font-size: 90%"},
]


class Table:
    """Rows as an HTML table, and as text that says the same. `html`: without a style sheet, for any viewer."""

    look = LOOK

    def __init__(
        self, shown: Sequence[Mapping[str, str]], numeric: Collection[str], marked: Collection[int], caption: str
    ):
        self.shown, self.numeric, self.marked, self.caption = list(shown), set(numeric), set(marked), caption

    @property
    def html(self) -> str:
        frame = pandas.DataFrame(self.shown)
        style = frame.style.hide(axis="index").format(html.escape).set_table_styles([*self.look, *self._sides(frame)])
        style.set_uuid(self._id)
        style.apply(lambda row: [MARKED if row.name in self.marked else ""] * len(row), axis=1)
        return style.set_caption(html.escape(self.caption)).to_html() if self.caption else style.to_html()

    def _sides(self, frame: pandas.DataFrame) -> list[dict]:
        """Numbers to the right, words to the left, headers with them; pandas gives a column's cells its class.

        A column of sentences keeps room for some words a line, however wide the others are.
        """
        sides = ["right" if column in self.numeric else "left" for column in frame]
        room = ["; min-width: 11em" if frame[column].str.len().max() > SENTENCE else "" for column in frame]
        return [
            {"selector": f".col{at}", "props": f"text-align: {side}{wide}"}
            for at, (side, wide) in enumerate(zip(sides, room, strict=True))
        ]

    @property
    def _id(self) -> str:
        """The same in every run, and another for another table: the styles of one page share a name space."""
        said = repr((self.shown, sorted(self.marked), self.caption))
        return "nsa" + hashlib.sha256(said.encode()).hexdigest()[:8]

    def _repr_mimebundle_(self, **_kwargs):
        lines = [
            text([{" ": "*" if at in self.marked else ""} | row for at, row in enumerate(self.shown)]),
            self.caption,
        ]
        return {"text/plain": "\n".join(filter(None, lines)).rstrip(), "text/html": self.html}


def table(
    rows: Sequence[Mapping[str, object]],
    units: Mapping[str, str] | None = None,
    marked: Collection[int] = (),
    caption: str = "",
) -> Table:
    """Rows with the same columns. units: by column, put into its header; "%" also turns 0..1 into percent.

    marked: indices of rows that matter.
    """
    units = units or {}
    header = {name: f"{name}, {units[name]}" if name in units else name for name in rows[0]}
    numeric = {header[name] for name, value in rows[0].items() if _is_number(value)}
    shown = [{header[name]: _shown(value, units.get(name)) for name, value in row.items()} for row in rows]
    return Table(shown, numeric, marked, caption)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _shown(value: object, unit: str | None) -> str:
    if value is None:
        return "\u2013"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int | float):
        return _percent(value) if unit == "%" else f"{value:,}" if isinstance(value, int) else _aligned(value)
    return str(value)


def _percent(share: float) -> str:
    return f"{100 * share:.{0 if abs(share) >= 0.1 else 1}f}"


def _aligned(number: float) -> str:
    """Three digits, zeros at the end included: numbers of a column can be compared at a glance."""
    return three(number) if abs(number) >= 100 or not number else format(number, "#.3g")
