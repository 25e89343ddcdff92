"""What every picture shares: its size, its colours, the look of its axes, and the words that say the same."""

import base64
import io
import textwrap
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from PIL import Image
from seaborn import despine

from . import palette

WIDTH, DPI = 8.6, 100  # inches: 860 pixels, what JupyterLab leaves for an output on a screen of 1280
SMALL, WORDS = 7.5, 8.5  # points: of dense charts, of pictures with few words
CAPTION_CHARACTERS = 150
GREY, INK = palette.NEUTRALS["muted"].light, palette.INK.light
SAME, DIFFERENT = "#d3ecc8", "#ffe94d"

# Pictures that are stored are drawn on paper, so their colours are those of a light page.
COLOURS = {name: colour.light for name, colour in (palette.STRATEGIES | palette.MODES | palette.PARTS).items()}
COLOURS |= {"note us": "#ffffff", "loop us": COLOURS["copy"], "device us": GREY}


def static_bundle(text: str, png: bytes) -> tuple[dict, dict]:
    """What a viewer without widgets shows: the words, and the picture with the words as its alternative text."""
    return {"text/plain": text, "image/png": base64.b64encode(png).decode()}, {"image/png": {"alt": text}}


class Chart:
    """A figure and in words what it shows; any notebook viewer shows both, without widgets."""

    def __init__(self, fig: Figure, lines: Sequence[str], few: Image.Image | None = None):
        self.lines, self.png = list(lines), png(fig, few)

    def _repr_mimebundle_(self, **_kwargs):
        return static_bundle("\n".join(self.lines), self.png)


def png(fig: Figure, few: Image.Image | None = None) -> bytes:
    """The figure in the colours of the image `few`, or of the palette: a third of the bytes. No version inside."""
    canvas, buffer = FigureCanvasAgg(fig), io.BytesIO()
    canvas.draw()
    rgb = np.asarray(canvas.buffer_rgba())[..., :3]
    if few is None:
        picture = Image.fromarray(_nearest(rgb, FEW), "P")
        picture.putpalette(FEW.astype(np.uint8).tobytes())
    else:
        picture = Image.fromarray(rgb).quantize(palette=few, dither=Image.Dither.NONE)
    picture.save(buffer, format="png", optimize=True)
    return buffer.getvalue()


def _few_colours() -> np.ndarray:
    """Greys, and every colour of the charts on its way to the paper: 256 colours."""
    fills = np.array([to_rgb(colour) for colour in dict.fromkeys([*COLOURS.values(), SAME, DIFFERENT])])[:, None]
    shades = (fills + (1 - fills) * np.linspace(0, 0.85, 6)[:, None]).reshape(-1, 3)
    greys = np.linspace(0, 1, 256 - len(shades))[:, None].repeat(3, axis=1)
    return np.round(np.concatenate([greys, shades]) * 255)


FEW = _few_colours()


def _nearest(rgb: np.ndarray, few: np.ndarray) -> np.ndarray:
    """The index into `few` of every pixel's nearest colour. Pillow's own way rounds, and paper is then no white."""
    colours, at = np.unique(rgb.reshape(-1, 3), axis=0, return_inverse=True)
    best = np.square(colours[:, None].astype(float) - few).sum(axis=2).argmin(axis=1)
    return best[at].reshape(rgb.shape[:2]).astype(np.uint8)


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


def name_rows(ax: Axes, names: Sequence[str]) -> None:
    """The rows of a chart of horizontal bars or points, the first uppermost."""
    ax.set_yticks(range(len(names)), names)
    ax.invert_yaxis()


def caption(fig: Figure, conditions: str) -> None:
    """Conditions under a picture, in as many lines as they need."""
    fig.supxlabel("\n".join(textwrap.wrap(conditions, CAPTION_CHARACTERS)), fontsize=7, color=GREY)
