"""The picture of an observed step: one colour per cell state, the same in every notebook."""

import io
import textwrap
from functools import lru_cache

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import ListedColormap, to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Patch, Rectangle
from PIL import Image

from .observe import CellState, Observation
from .words import SAYS

# Apart for every kind of colour blindness: tests/test_explore.py simulates three. A fault is black.
COLOURS = {
    CellState.LIVE: "#0173b2",
    CellState.UNREAD: "#9fd0f2",
    CellState.STALE: "#dd7f00",
    CellState.NEVER: "#ffffff",
    CellState.CONSTANT: "#a8a8a8",
    CellState.FAULT: "#111111",
}
EQUAL, DIFFERS = "#d3ecc8", "#ffe94d"
INK = {state: "white" if state in (CellState.LIVE, CellState.FAULT) else "black" for state in CellState}
LINE = "#777777"
TABLES = ("page_table_1", "real_page_table")
MOST_NUMBERS = 260  # cells; a panel with more shows the numbers of the selected row only, and stays quick to draw
MOST_LINES = 48  # rows or columns; beyond it cells are too small for lines and labels
DIGIT, PANELS = 5.7, 715  # pixels: a digit of a cell's number, and what the row labels leave of the picture's width
WIDTH, DPI = 8.6, 100  # inches: 860 pixels, what JupyterLab leaves for an output on a screen of 1280


def figure(seen: Observation, step: int = 0, field: str = "page_table_1", row: int = 0, column: int = 0) -> Figure:
    """Vectors above, tables below, all steps at the bottom; the selected cell and its row are framed."""
    states, values = seen.states(step), seen.values(step)
    vectors = [name for name in values if name not in TABLES]
    heights = [0.21 * len(vectors), 0.21 * min(seen.setup.rows, MOST_LINES), 0.24 * seen.setup.steps]
    fig = Figure(figsize=(WIDTH, sum(heights) + 2.2), dpi=DPI, layout="constrained")
    grid = fig.add_gridspec(3, 2, height_ratios=heights, width_ratios=_table_widths(seen))
    draw_vectors(fig.add_subplot(grid[0, :]), {name: (states[name], values[name]) for name in vectors})
    for place, name in enumerate(TABLES):
        draw_table(fig.add_subplot(grid[1, place]), seen, step, name, row)
    draw_steps(fig.add_subplot(grid[2, :]), seen.differences())
    _select(fig.axes, seen, vectors, field, row, column)
    add_legend(fig)
    return fig


def png(fig: Figure) -> bytes:
    """The figure as PNG: a fixed palette makes it a quarter of the size; no version inside, so equal is equal."""
    canvas, buffer = FigureCanvasAgg(fig), io.BytesIO()
    canvas.draw()
    rgb = Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB")
    rgb.quantize(palette=_palette(), dither=Image.Dither.NONE).save(buffer, format="png", optimize=True)
    return buffer.getvalue()


@lru_cache(maxsize=1)
def _palette() -> Image.Image:
    """Every colour of the legend exactly, and its way to black, white and grey, for the edges of letters and lines."""
    fills = np.array([to_rgb(colour) for colour in (*COLOURS.values(), EQUAL, DIFFERS)])[:, None, None]
    inks = np.array([to_rgb(colour) for colour in ("black", "white", LINE)])[None, :, None]
    share = np.linspace(0, 1, 8)[None, None, :, None]
    shades = (fills * (1 - share) + inks * share).reshape(-1, 3)
    palette = Image.new("P", (1, 1))
    palette.putpalette(np.resize(np.round(shades * 255), (256, 3)).astype(np.uint8).tobytes())
    return palette


def draw_vectors(ax: Axes, vectors: dict) -> None:
    """One line per vector of {name: (states, values)}; shorter ones end early."""
    longest = max(len(states) for states, _ in vectors.values())
    for at, (states, values) in enumerate(vectors.values()):
        _mesh(ax, states.numpy()[None], top=at, lines=longest <= MOST_LINES)
        _numbers(ax, at, states, values, longest)
    ax.set(xlim=(-0.5, longest - 0.5), ylim=(len(vectors) - 0.5, -0.5))
    ax.set_yticks(range(len(vectors)), vectors)
    ax.set_xlabel("index: of the request in cache_* and cu_seqlens_k, of the row elsewhere", fontsize=7)
    ax.tick_params(length=0, labelsize=7)
    ax.spines[:].set_visible(False)


def draw_table(ax: Axes, seen: Observation, step: int, name: str, selected: int) -> None:
    """One table of a step. `selected`: the row whose numbers are shown where there is no room for all."""
    states, values = seen.states(step)[name], seen.values(step)[name]
    _mesh(ax, states.numpy(), lines=max(states.shape) <= MOST_LINES)
    for at in range(len(states)) if states.numel() <= MOST_NUMBERS else [selected]:
        _numbers(ax, at, states[at], values[at], sum(_table_widths(seen)))
    ax.set_title(f"{name}, step {step}" if name == "page_table_1" else name, fontsize=8)
    ax.set_xlabel("column: token" if name == "page_table_1" else "column: page", fontsize=7)
    ax.tick_params(length=0, labelsize=7)
    labels = _row_labels(seen, step) if len(states) <= MOST_LINES and name == "page_table_1" else []
    ax.set_yticks(range(len(labels)), labels)


def draw_steps(ax: Axes, differences: dict[str, list[int]]) -> None:
    """Which fields of each step equal step 0's: the cells that differ are counted."""
    counts = np.array(list(differences.values())).T
    _mesh(ax, (counts > 0).astype(float), colours=(EQUAL, DIFFERS))
    for (step, at), count in np.ndenumerate(counts):
        _write(ax, at, step, f"{count} differ" if count else "=", "black")
    labels = [textwrap.fill(name.replace("_", "_ "), 14).replace("_ ", "_") for name in differences]
    ax.set_xticks(range(len(labels)), labels)
    ax.set_yticks(range(len(counts)), [f"step {step}" for step in range(len(counts))])
    ax.tick_params(length=0, labelsize=6.5)
    ax.spines[:].set_visible(False)


def add_legend(fig: Figure) -> None:
    """The same entries in the same order over every picture, whether a state occurs in it or not."""
    named = [(COLOURS[state], SAYS[state]) for state in CellState]
    named += [(EQUAL, "step equals step 0"), (DIFFERS, "step differs from step 0")]
    patches = [Patch(facecolor=colour, edgecolor=LINE, label=text) for colour, text in named]
    fig.legend(handles=patches, loc="outside upper center", ncols=4, fontsize=7.5, frameon=False)


def _table_widths(seen: Observation) -> list[float]:
    pages = -(-seen.setup.width // seen.setup.page_size)
    return [seen.setup.width, max(pages, seen.setup.width / 6)]


def _mesh(ax: Axes, cells: np.ndarray, *, top: int = 0, lines: bool = True, colours=None) -> None:
    """Coloured cells around integer coordinates, row `top` uppermost."""
    rows, columns = cells.shape
    colours = colours or tuple(COLOURS.values())
    edges = np.arange(columns + 1) - 0.5, np.arange(rows + 1) - 0.5 + top
    style = {"edgecolors": LINE, "linewidth": 0.4, "clip_on": False} if lines else {}
    ax.pcolormesh(*edges, cells, cmap=ListedColormap(colours), vmin=-0.5, vmax=len(colours) - 0.5, **style)
    ax.set_ylim(rows - 0.5, -0.5)


def _numbers(ax: Axes, row: int, states, values, columns: float) -> None:
    """The values of one row of cells, of which `columns` share the width of the picture; none if they do not fit."""
    if len(str(int(values.abs().max()))) * DIGIT + 2 > PANELS / columns:
        return
    for column, (state, value) in enumerate(zip(states.tolist(), values.tolist(), strict=True)):
        _write(ax, column, row, value, INK[state])


def _write(ax: Axes, x: int, y: int, text: object, colour: str) -> None:
    # Kept out of the layout: a number lies inside its panel anyway, and hundreds of them would double the time.
    ax.text(x, y, text, ha="center", va="center", fontsize=6.5, color=colour).set_in_layout(False)


def _row_labels(seen: Observation, step: int) -> list[str]:
    real = len(seen.inputs[-1].lengths)
    labels = [
        f"row {at}: " + (f"request {row.request}" if row.request < real else "padding")
        for at, row in enumerate(seen.rows[-1][step])
    ]
    return labels + [f"row {at}: not in use" for at in range(len(labels), seen.setup.rows)]


def _select(axes: list[Axes], seen: Observation, vectors: list[str], field: str, row: int, column: int) -> None:
    """Frame the selected cell; for a table's cell also that of the other table, and its row's length."""
    if field in vectors:
        return _frame(axes[0], row, vectors.index(field))
    size = seen.setup.page_size
    token, page = (column * size, column) if field == "real_page_table" else (column, column // size)
    _frame(axes[0], row, vectors.index("nsa_seqlens_expanded"))
    if seen.setup.width <= MOST_LINES:  # narrower cells would be all frame
        _frame(axes[1], token, row)
        _frame(axes[2], page, row)


def _frame(ax: Axes, x: int, y: int) -> None:
    frame = Rectangle((x - 0.5, y - 0.5), 1, 1, fill=False, edgecolor="black", lw=2, zorder=5)
    ax.add_patch(frame).set_in_layout(False)
