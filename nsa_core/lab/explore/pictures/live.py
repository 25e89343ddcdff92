"""What a moving picture is to a notebook: a widget while a kernel runs, a still picture and its words otherwise."""

import html
import os
import statistics
import textwrap
from collections.abc import Callable, Sequence

import anywidget
import traitlets
from matplotlib.figure import Figure

from ...bench.evidence import Evidence
from .. import chart, front, palette
from ..page import STILL, front_metadata

TITLE_CHARACTERS, SOURCE_CHARACTERS, LINE_INCHES = 120, 140, 0.14
FORMED = "Speed-ups are formed within each run, so they can differ a little from the quotient of two times."
CHARACTER = 0.0095  # of a label, as a part of the axis


def style() -> str:
    return palette.css() + "\n" + front.read("pictures.css")


def three(number: float) -> str:
    """Three significant digits, thousands by commas; front/draw.js writes numbers the same way."""
    return f"{number:,.0f}" if abs(number) >= 100 else f"{number:.3g}"


def title(words: str) -> str:
    """Words above a still picture, in as many lines as they need."""
    return textwrap.fill(words, TITLE_CHARACTERS)


def middle(spots: Sequence[tuple[float, float]], label: str, columns: int) -> tuple[float, float]:
    """Where a region's label stands without crossing an edge: x are columns from 1, the y axis is logarithmic."""
    half = len(label) * CHARACTER * columns / 2
    x = statistics.mean(x for x, _ in spots)
    return min(max(x, 0.5 + half), columns + 0.5 - half), statistics.geometric_mean([y for _, y in spots])


def measured_on(evidence: Evidence, what: str) -> str:
    """The line that names the recordings: what ran, where, when, how many runs."""
    return f"Measured: {what}. {evidence.brief}."


class LivePicture(anywidget.AnyWidget):
    """A picture drawn by the browser.

    name: of the front-end module. data: what it draws, as JSON; its fields are listed in that module, and `source`
    says below it what was measured.
    state: what the reader chose, as JSON; setting it moves the picture.
    words(state): what the picture says. still(state): the same as a figure, or as an HTML table.
    hint: what to do in JupyterLab.
    """

    data = traitlets.Dict().tag(sync=True)
    state = traitlets.Dict().tag(sync=True)
    _esm = traitlets.Unicode().tag(sync=True)
    _css = traitlets.Unicode().tag(sync=True)

    def __init__(
        self,
        name: str,
        data: dict,
        state: dict,
        *,
        words: Callable[[dict], str],
        still: Callable[[dict], Figure | str],
        hint: str,
    ):
        self.name = name
        super().__init__(data=data, state=state, _esm=front.module(f"{name}.js"), _css=style())
        self._words, self._still, self.hint = words, still, f"In JupyterLab, run this cell: {hint}"

    @property
    def words(self) -> str:
        """What the picture says now."""
        return self._words(self.state)

    def static(self) -> tuple[dict, dict]:
        """The picture as it stands and what would move, for viewers without widgets: data and metadata by type."""
        still = self._still(self.state)
        if isinstance(still, str):
            below = "".join(f"<p>{html.escape(line)}</p>" for line in (self.data["source"], self.hint))
            return {"text/plain": self.words, "text/html": still + below}, {}
        lines = [*textwrap.wrap(self.data["source"], SOURCE_CHARACTERS), self.hint]
        still.set_figheight(still.get_figheight() + LINE_INCHES * (len(lines) - 1))
        still.supxlabel("\n".join(lines), fontsize=chart.SMALL, color=chart.GREY, x=0.01, ha="left")
        return chart.static_bundle(self.words, chart.png(still))

    def __repr__(self) -> str:
        return self.words

    def _repr_mimebundle_(self, **kwargs):
        live = {} if os.environ.get(STILL) else super()._repr_mimebundle_(**kwargs)[0]
        data, metadata = self.static()
        return live | data, metadata | self.on_a_page()

    def on_a_page(self) -> dict:
        """For a page without a kernel, which has all that the picture needs."""
        return front_metadata(self.name, {"data": self.data, "state": self.state})
