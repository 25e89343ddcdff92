"""What every picture shares: its size, its colours, the look of its axes, and the words that say the same."""

import base64
import io
import textwrap
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from PIL import Image
from seaborn import color_palette, despine

from ..bench.evidence import Evidence

WIDTH, DPI = 8.6, 100  # inches: 860 pixels, what JupyterLab leaves for an output on a screen of 1280
SMALL = 7.5  # points
CAPTION_CHARACTERS = 150
EDGE, GREY = "#777777", "#444444"

BLUE, ORANGE, GREEN, VERMILION, PURPLE, BROWN, _, PALE, YELLOW, SKY = color_palette("colorblind").as_hex()
# The same thing has the same colour in every notebook.
COLOURS = {
    "eager": VERMILION,
    "copy": BLUE,
    "batched": PURPLE,
    "foreach": SKY,
    "fused": ORANGE,
    "graph": "#111111",
    "shared+graph": BROWN,
    "one launch": ORANGE,
    "compute": GREEN,
    "copies": BLUE,
    "batched copies": PURPLE,
    "rest": PALE,
    "record us": "#ffffff",
    "loop us": YELLOW,
    "device us": GREY,
}
SAME, DIFFERENT = "#d3ecc8", "#ffe94d"


def static_bundle(text: str, png: bytes) -> tuple[dict, dict]:
    """What a viewer without widgets shows: the words, and the picture with the words as its alternative text."""
    return {"text/plain": text, "image/png": base64.b64encode(png).decode()}, {"image/png": {"alt": text}}


class Chart:
    """A figure and in words what it shows; any notebook viewer shows both, without widgets."""

    def __init__(self, fig: Figure, lines: Sequence[str], palette: Image.Image | None = None):
        self.lines, self.png = list(lines), png(fig, palette)

    def _repr_mimebundle_(self, **_kwargs):
        return static_bundle("\n".join(self.lines), self.png)


def png(fig: Figure, palette: Image.Image | None = None) -> bytes:
    """The figure in the colours of `palette`, or 64 of its own: a third of the bytes. No version inside."""
    canvas, buffer = FigureCanvasAgg(fig), io.BytesIO()
    canvas.draw()
    rgb = Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB")
    rgb.quantize(64, palette=palette, dither=Image.Dither.NONE).save(buffer, format="png", optimize=True)
    return buffer.getvalue()


def figure(height: float) -> Figure:
    """An empty figure of the common width; height in inches."""
    return Figure(figsize=(WIDTH, height), dpi=DPI, layout="constrained")


def labels(ax: Axes, title: str, x: str, y: str, legend: str = "best") -> None:
    """The look of all axes; the legend stands at `legend` where something drawn has a label."""
    ax.set_title(title, fontsize=SMALL + 1, loc="left")
    ax.set_xlabel(x, fontsize=SMALL)
    ax.set_ylabel(y, fontsize=SMALL)
    ax.tick_params(labelsize=SMALL)
    ax.grid(lw=0.4, color="#cccccc")
    ax.set_axisbelow(True)
    despine(ax=ax)
    if ax.get_legend_handles_labels()[1]:
        ax.legend(fontsize=SMALL, frameon=False, loc=legend)


def legend(fig: Figure, named: Mapping[str, str], place: str, columns: int, **options) -> None:
    """The legend of a whole figure, {label: colour}; place: "upper center" and so on, outside of the axes."""
    handles = [Patch(facecolor=colour, edgecolor=EDGE, label=label) for label, colour in named.items()]
    style = {"fontsize": SMALL, "frameon": False} | options
    fig.legend(handles=handles, loc=f"outside {place}", ncols=columns, **style)


def name_rows(ax: Axes, names: Sequence[str]) -> None:
    """The rows of a chart of horizontal bars or points, the first uppermost."""
    ax.set_yticks(range(len(names)), names)
    ax.invert_yaxis()


def grouped_bars(ax: Axes, names: Sequence[str], groups: Mapping[str, Sequence[float]]) -> None:
    """A bar for each group in every row."""
    height = 0.8 / len(groups)
    for at, (label, values) in enumerate(groups.items()):
        places = [row + (at - (len(groups) - 1) / 2) * height for row in range(len(names))]
        ax.barh(places, values, height=height, color=COLOURS[label], edgecolor=EDGE, lw=0.6, label=label)
    name_rows(ax, names)


def stacked_bars(ax: Axes, names: Sequence[str], parts: Mapping[str, Sequence[float]]) -> None:
    """One bar a row, made of parts."""
    begin = [0.0] * len(names)
    for label, widths in parts.items():
        ax.barh(names, widths, left=begin, color=COLOURS[label], edgecolor="white", height=0.7, label=label)
        begin = [a + b for a, b in zip(begin, widths, strict=True)]
    ax.invert_yaxis()


def finish(fig: Figure, lines: Sequence[str], evidence: Evidence) -> Chart:
    """A chart whose caption is the conditions of the runs."""
    caption(fig, evidence.conditions)
    return Chart(fig, [*lines, evidence.conditions])


def caption(fig: Figure, conditions: str) -> None:
    """Conditions under a picture, in as many lines as they need."""
    fig.supxlabel("\n".join(textwrap.wrap(conditions, CAPTION_CHARACTERS)), fontsize=7, color=GREY)
