"""The picture of an observed step, and its words: one colour per cell state, the same in every notebook."""

import textwrap
from functools import lru_cache

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap, to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from PIL import Image

from ...config import TABLES
from . import chart, words
from .chart import DIFFERENT, EDGE, SAME
from .observe import CellState, Observation

# Apart for every kind of colour blindness: tests/test_explore.py simulates three. A fault is black.
STATE_COLOURS = {
    CellState.LIVE: "#0173b2",
    CellState.UNREAD: "#9fd0f2",
    CellState.STALE: "#dd7f00",
    CellState.NEVER: "#ffffff",
    CellState.CONSTANT: "#a8a8a8",
    CellState.FAULT: "#111111",
}
INK = {state: "white" if state in (CellState.LIVE, CellState.FAULT) else "black" for state in CellState}
MOST_NUMBERS = 260  # cells; a panel with more shows the numbers of the selected row only, and stays quick to draw
MOST_LINES = 48  # rows or columns; beyond it cells are too small for lines and labels
DIGIT, PANELS = 5.7, 715  # pixels: a digit of a cell's number, and what the row labels leave of the picture's width


class Picture(chart.Chart):
    """What an observed step looks like now. `lines`: what the replay did, and what the selected cell is."""

    def __init__(
        self, observation: Observation, step: int = 0, field: str = "page_table_1", row: int = 0, column: int = 0
    ):
        lines = [words.summary(observation, step), words.describe_cell(observation, step, field, row, column)]
        super().__init__(figure(observation, step, field, row, column), lines, _palette())


def figure(observation: Observation, step: int, field: str, row: int, column: int) -> Figure:
    """Vectors above, tables below, all steps at the bottom; the selected cell and its row are framed."""
    states, values = observation.states(step), observation.values(step)
    vectors = [name for name in values if name not in TABLES]
    heights = [0.21 * len(vectors), 0.21 * min(observation.setup.rows, MOST_LINES), 0.24 * observation.setup.steps]
    fig = chart.figure(sum(heights) + 2.2)
    widths = _table_widths(observation)
    grid = fig.add_gridspec(3, len(widths), height_ratios=heights, width_ratios=list(widths.values()))
    draw_vectors(fig.add_subplot(grid[0, :]), {name: (states[name], values[name]) for name in vectors})
    tables = {}
    for place, name in enumerate(widths):
        tables[name] = fig.add_subplot(grid[1, place])
        draw_table(tables[name], observation, step, name, row)
    draw_steps(fig.add_subplot(grid[2, :]), observation.differences())
    _select(fig.axes[0], tables, observation, vectors, field, row, column)
    named = {words.STATE_WORDS[state]: colour for state, colour in STATE_COLOURS.items()}
    named |= {"step equals step 0": SAME, "step differs from step 0": DIFFERENT}
    chart.legend(fig, named, "upper center", 4)  # the same over every picture, whether a state occurs in it or not
    return fig


@lru_cache(maxsize=1)
def _palette() -> Image.Image:
    """Every colour of the legend exactly, and its way to black, white and grey for letters and lines."""
    fills = np.array([to_rgb(colour) for colour in (*STATE_COLOURS.values(), SAME, DIFFERENT)])[:, None, None]
    inks = np.array([to_rgb(colour) for colour in ("black", "white", EDGE)])[None, :, None]
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


def draw_table(ax: Axes, observation: Observation, step: int, name: str, selected: int) -> None:
    """One table of a step. `selected`: the row whose numbers are shown where there is no room for all."""
    states, values = observation.states(step)[name], observation.values(step)[name]
    _mesh(ax, states.numpy(), lines=max(states.shape) <= MOST_LINES)
    for at in range(len(states)) if states.numel() <= MOST_NUMBERS else [selected]:
        _numbers(ax, at, states[at], values[at], sum(_table_widths(observation).values()))
    first = next(iter(_table_widths(observation)))
    ax.set_title(f"{name}, step {step}" if name == first else name, fontsize=8)
    ax.set_xlabel("column: token" if name == "page_table_1" else "column: page", fontsize=7)
    ax.tick_params(length=0, labelsize=7)
    labels = _row_labels(observation, step) if len(states) <= MOST_LINES and name == first else []
    ax.set_yticks(range(len(labels)), labels)


def draw_steps(ax: Axes, differences: dict[str, list[int]]) -> None:
    """Which fields of each step equal step 0's: the cells that differ are counted."""
    counts = np.array(list(differences.values())).T
    _mesh(ax, (counts > 0).astype(float), colours=(SAME, DIFFERENT))
    for (step, at), count in np.ndenumerate(counts):
        _write(ax, at, step, f"{count} differ" if count else "=", "black")
    labels = [textwrap.fill(name.replace("_", "_ "), 14).replace("_ ", "_") for name in differences]
    ax.set_xticks(range(len(labels)), labels)
    ax.set_yticks(range(len(counts)), [f"step {step}" for step in range(len(counts))])
    ax.tick_params(length=0, labelsize=6.5)
    ax.spines[:].set_visible(False)


def _table_widths(observation: Observation) -> dict[str, float]:
    """How wide to draw each table there is."""
    width, pages = observation.setup.width, -(-observation.setup.width // observation.setup.page_size)
    widths = {"page_table_1": width, "real_page_table": max(pages, width / 6)}
    return {name: widths[name] for name in TABLES if name in observation.setup.tables}


def _mesh(ax: Axes, cells: np.ndarray, *, top: int = 0, lines: bool = True, colours=None) -> None:
    """Coloured cells around integer coordinates, row `top` uppermost."""
    rows, columns = cells.shape
    colours = colours or tuple(STATE_COLOURS.values())
    edges = np.arange(columns + 1) - 0.5, np.arange(rows + 1) - 0.5 + top
    style = {"edgecolors": EDGE, "linewidth": 0.4, "clip_on": False} if lines else {}
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


def _row_labels(observation: Observation, step: int) -> list[str]:
    real = len(observation.batches[-1].lengths)
    labels = [
        f"row {at}: " + (f"request {row.request}" if row.request < real else "padding")
        for at, row in enumerate(observation.rows[-1][step])
    ]
    return labels + [f"row {at}: not in use" for at in range(len(labels), observation.setup.rows)]


def _select(
    lines: Axes,
    tables: dict[str, Axes],
    observation: Observation,
    vectors: list[str],
    field: str,
    row: int,
    column: int,
) -> None:
    """Frame the selected cell; for a table's cell also that of the other table, and its row's length."""
    if field in vectors:
        return _frame(lines, row, vectors.index(field))
    size = observation.setup.page_size
    token, page = (column * size, column) if field == "real_page_table" else (column, column // size)
    _frame(lines, row, vectors.index("nsa_seqlens_expanded"))
    for name, ax in tables.items() if observation.setup.width <= MOST_LINES else ():  # narrower cells: all frame
        _frame(ax, token if name == "page_table_1" else page, row)


def _frame(ax: Axes, x: int, y: int) -> None:
    frame = Rectangle((x - 0.5, y - 0.5), 1, 1, fill=False, edgecolor="black", lw=2, zorder=5)
    ax.add_patch(frame).set_in_layout(False)
