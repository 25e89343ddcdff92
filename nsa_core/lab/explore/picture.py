"""A scene as a PNG and as text, for GitHub, exported pages and terminals: what shows where no JavaScript runs."""

import io
from collections import Counter
from functools import lru_cache

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from .scene import FOREIGN, NOBODY, STATES, cells_of
from .words import LEGEND, costs, of_step, tally

HUES = ((47, 111, 176), (224, 145, 15), (27, 154, 116), (201, 95, 154), (138, 109, 59), (98, 180, 224))  # as base.js
GREY, INK, MUTED, LINE, WHITE, ALARM = (
    (128, 132, 140),
    (28, 32, 38),
    (82, 86, 93),
    (214, 216, 220),
    (255,) * 3,
    (200, 30, 20),
)
READ, UNREAD, STALE, NEVER, CONSTANT, FAULT = range(FOREIGN)
WIDTH, LABEL, SCALE, GAP = 860, 184, 2, 14  # of the page, of its row labels; pixels of the file for each of these


class Page:
    """A sheet to draw on, in units of the page; it is as high as what was drawn on it."""

    def __init__(self) -> None:
        self.image = Image.new("RGB", (WIDTH * SCALE, 2400), WHITE)
        self.pen = ImageDraw.Draw(self.image)
        self.bottom = 0.0

    def box(
        self, x: float, y: float, width: float, height: float, colour: tuple, mask: Image.Image | None = None
    ) -> None:
        edges = [round(SCALE * edge) for edge in (x, y, x + width, y + height)]
        if mask is None:
            self.pen.rectangle([*edges[:2], max(edges[2] - 1, edges[0]), max(edges[3] - 1, edges[1])], fill=colour)
        else:
            self.image.paste(colour, edges, mask.crop(edges))
        self.bottom = max(self.bottom, y + height)

    def text(
        self, text: object, x: float, y: float, colour: tuple = INK, size: float = 12, anchor: str = "lm"
    ) -> float:
        """Returns where the text ends."""
        font = _font(size)
        self.pen.text((SCALE * x, SCALE * y), str(text), colour, font, anchor)
        self.bottom = max(self.bottom, y + size)
        return x + font.getlength(str(text)) / SCALE

    def png(self) -> bytes:
        """In 256 colours: a third of the bytes."""
        buffer, height = io.BytesIO(), round(SCALE * (self.bottom + 6))
        small = self.image.crop((0, 0, WIDTH * SCALE, height)).quantize(
            256, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE
        )
        small.save(buffer, format="png", optimize=True)
        return buffer.getvalue()


def picture(scene: dict, caption: str = "") -> bytes:
    """The scene's note, tables, vectors, legend and costs."""
    page, rows = Page(), max((f["shape"][0] for f in scene["fields"] if f["tokens"]), default=1)
    mode = scene["mode"].replace("_", " ")
    title = f"replay {scene['replay']}: {mode}, {scene['strategy']} ({scene['contract']} contract)"
    page.text(title, page.text(scene["note"], 0, 10, INK, 14) + 14, 10.5, MUTED)
    tables = [f for f in scene["fields"] if f["tokens"]]
    columns, room = sum(f["shape"][1] for f in tables), WIDTH - LABEL - GAP
    few, height = columns <= 80, max(4, min(22, 232 // rows))
    x, wide = LABEL, min(27, room // columns) if few else room / columns
    tops = _tops(scene["rows"], rows, height)
    for table in tables:
        share = wide * table["shape"][1] if few else room * {1: 1, 2: 0.2 + 0.6 * (table["tokens"] == 1)}[len(tables)]
        _draw(page, scene, table, x, tops, share / table["shape"][1], height)
        page.text(table["name"], x, 34, INK, 12)
        x += share + GAP
    _label_rows(page, scene, tops, height)
    y = page.bottom + 14
    for vector in (f for f in scene["fields"] if not f["tokens"]):
        digits = len(str(int(cells_of(vector, "values").max())))
        cell = max(wide, 20) if few else min(27, room / vector["shape"][1])
        cell = min(max(cell, 6.6 * digits + 5), room / vector["shape"][1])
        end = LABEL + cell * vector["shape"][1]
        page.text(vector["name"], LABEL - 10, y + 9, anchor="rm")
        if vector["same_as"] and end < WIDTH - 245:
            page.text(f"the same memory as {vector['same_as']}", end + 8, y + 9, MUTED)
        _draw(page, scene, vector, LABEL, [y], cell, 18)
        y += 20
    _explain(page, scene, caption)
    return page.png()


def _tops(rows: list, count: int, height: float) -> list[float]:
    """Where each row begins; a gap stands between requests, if rows are few."""
    tops, y = [], 58.0
    for at in range(count):
        apart = 0 < at <= len(rows) and (at == len(rows) or rows[at][0] != rows[at - 1][0])
        y += 3 * (apart and count <= 40)
        tops.append(y)
        y += height
    return tops


def _draw(page: Page, scene: dict, field: dict, x: float, tops: list[float], cell: float, height: float) -> None:
    values, states, owners = (cells_of(field, key).numpy() for key in ("values", "states", "owners"))
    gap, tall = cell >= 7, height - (height >= 8)
    numbers = cell >= 6.6 * len(str(values.max())) + 3 and height >= 14
    for row, top in enumerate(tops):
        changed = np.flatnonzero(np.diff(states[row]) | np.diff(owners[row])) + 1
        for first, end in zip([0, *changed], [*changed, len(states[row])], strict=True):
            state, hue = int(states[row, first]), _hue(int(owners[row, first]))
            for at in range(first, end) if gap else [first]:
                width = cell - 1 if gap else (end - first) * cell
                _cell(page, x + at * cell, top, width, tall, state, hue)
                if numbers:
                    _number(page, values[row, at], x + (at + 0.5) * cell - 0.5, top + tall / 2, state)
        if field["tokens"] and row < len(scene["rows"]):
            end = -(-scene["rows"][row][1] // field["tokens"])
            page.box(x + min(end, values.shape[1]) * cell - 1.5, top - 1, 2, tall + 2, INK)
            if numbers:
                _left_by(page, scene, states[row], owners[row], (x, top + tall / 2, cell), scene["rows"][row][0])


def _left_by(page: Page, scene: dict, states: np.ndarray, owners: np.ndarray, at: tuple, person: int) -> None:
    """Behind the last cell that was ever written: who left it there, if that was another request."""
    (x, y, cell), last = at, int(np.flatnonzero(states != NEVER).max(initial=0))
    if states[last] in (STALE, FOREIGN) and owners[last] not in (person, 0) and (len(states) - 1 - last) * cell >= 62:
        page.text(f"left by {scene['people'][owners[last]]}", x + (last + 1) * cell + 5, y, MUTED)


def _cell(page: Page, x: float, y: float, width: float, height: float, state: int, hue: tuple) -> None:
    ground = {READ: 0.45, UNREAD: 0.13, STALE: 0.07, FOREIGN: 0.07}
    plain = {NEVER: _mix(INK, 0.025), CONSTANT: _mix(INK, 0.1), FAULT: INK}
    page.box(x, y, width, height, plain.get(state) or _mix(hue, ground[state]))
    if state in (STALE, FOREIGN):
        page.box(x, y, width, height, _mix(hue, 0.6 if state == FOREIGN else 0.4), _hatch(state == FOREIGN))
    if state == NEVER and 7 <= width < 40:
        page.box(x + width / 2 - 1, y + height / 2 - 1, 2, 2, LINE)
    if state == FOREIGN and width < 40:
        size = min(7, width / 2)
        corner = [(x + width - size, y), (x + width, y), (x + width, y + size)]
        page.pen.polygon([(SCALE * a, SCALE * b) for a, b in corner], fill=ALARM)


def _number(page: Page, value: int, x: float, y: float, state: int) -> None:
    if state == NEVER:
        return
    if state in (STALE, FOREIGN):
        page.pen.text((SCALE * x, SCALE * y), str(value), INK, _font(11.5), "mm", stroke_width=4, stroke_fill=WHITE)
    else:
        page.text(value, x, y, {UNREAD: MUTED, FAULT: WHITE}.get(state, INK), 11.5, "mm")


def _label_rows(page: Page, scene: dict, tops: list[float], height: float) -> None:
    rows = Counter(person for person, _ in scene["rows"])
    before, nth = None, 0
    for at, top in enumerate(tops):
        person, length = scene["rows"][at] if at < len(scene["rows"]) else (NOBODY, 0)
        nth, before = (nth + 1 if person == before else 1), person
        page.box(LABEL - 6, top, 3, height - 1, LINE if person == NOBODY else _hue(person))
        name = scene["people"][person] if person > 0 else ""
        if height < 13:
            if name and nth == 1 and height * rows[person] >= 11:
                page.text(f"request {name}", LABEL - 10, top + 6, MUTED, 11, "rm")
            continue
        several = f"row {nth} of {rows[person]}, " if rows[person] > 1 and name else ""
        who = {NOBODY: "not in use", 0: f"padding, length {length}"}.get(person, f"{name}: {several}length {length}")
        page.text(who, LABEL - 10, top + height / 2, INK if name else MUTED, anchor="rm")


def _explain(page: Page, scene: dict, caption: str) -> None:
    counts = tally(scene)
    y = page.bottom + 20
    x = page.text(f"{of_step(scene)}:", 0, y, MUTED) + 10
    shown = [(state, text) for state, text in LEGEND if counts[state]]
    for state, text in shown:
        _cell(page, x, y - 7, 14, 13, STATES.index(state), HUES[0])
        x = page.text(f"{text} {counts[state]:,}", x + 18, y, MUTED) + 12
    page.text(costs(scene), 0, y + 22, MUTED)
    if caption:
        page.text(caption, 0, y + 44)


def _hue(person: int) -> tuple:
    return HUES[(person - 1) % len(HUES)] if person > 0 else GREY


def _mix(colour: tuple, share: float) -> tuple:
    return tuple(round(part * share + 255 * (1 - share)) for part in colour)


@lru_cache(maxsize=16)
def _font(size: float) -> ImageFont.FreeTypeFont:
    return ImageFont.load_default(size * SCALE)


@lru_cache(maxsize=2)
def _hatch(crossed: bool) -> Image.Image:
    """Where the lines run, over a whole page."""
    y, x = np.mgrid[:2400, : WIDTH * SCALE]
    lines = (x + y) % 16 < 3
    return Image.fromarray(((lines | ((x - y) % 16 < 3) if crossed else lines) * 255).astype(np.uint8))
