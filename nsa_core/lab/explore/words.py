"""A scene in words: one line for a notebook's stored output, a whole page for a terminal."""

from collections import Counter

from .scene import NOBODY, STATES, cells_of

LEGEND = (
    ("read", "written now"),
    ("unread", "written, not read"),
    ("stale", "stale"),
    ("foreign", "stale, another request's slot"),
    ("never", "never written"),
    ("constant", "constant"),
    ("fault", "read, but not written"),
)
SIGNS = {
    "read": "{}",
    "unread": "({})",
    "stale": "~{}",
    "foreign": "!{}",
    "never": ".",
    "constant": "{}",
    "fault": "?{}",
}
WIDEST = 40  # columns of a table in a terminal


def summary(scene: dict) -> str:
    """What a replay did, in a few sentences. The counts are a fingerprint of the picture."""
    counts = tally(scene)
    cells = ", ".join(f"{counts[state]:,} {text}" for state, text in LEGEND if counts[state])
    mode, rows = scene["mode"].replace("_", " "), len(scene["rows"])
    asked = f"Replay {scene['replay']} ({mode}, {scene['strategy']}, {scene['contract']} contract): {scene['note']}"
    return f"{asked} {rows} rows in use. {of_step(scene)}: {cells}. {costs(scene)}"


def of_step(scene: dict) -> str:
    """Whose cells are counted; with one set there is nothing to tell apart."""
    return "Cells" if scene["draft_steps"] == 1 else f"Cells of draft step {scene['draft_step']}"


def tally(scene: dict) -> Counter:
    """How many cells are in each state; memory that goes by two names counts once."""
    fields = [field for field in scene["fields"] if not field["same_as"]]
    return Counter(STATES[state] for field in fields for state in cells_of(field, "states").flatten().tolist())


def costs(scene: dict) -> str:
    cost, steps = scene["cost"], scene["draft_steps"]
    moved = "what the kernel reads cannot be seen" if cost["read"] is None else f"{cost['read']:,} bytes read"
    launches = "1 launch" if cost["launches"] == 1 else f"{cost['launches']} launches"
    parts = f" ({cost['launches'] - cost['copies']} compute, {cost['copies']} copy)" if cost["copies"] else ""
    whole = "The refresh" if steps == 1 else f"The refresh, all {steps} sets"
    return (
        f"{whole}: {launches}{parts}; "
        f"{cost['written']:,} bytes written, {cost['captured']:,} of them into captured sets; {moved}."
    )


def text(scene: dict) -> str:
    """Tables and vectors with a sign for every cell that was not written now."""
    lines = [summary(scene), ""]
    for field in scene["fields"]:
        values, states = (cells_of(field, key).tolist() for key in ("values", "states"))
        lines += [field["name"]] if field["tokens"] else []
        for row in range(len(values)):
            cells = [SIGNS[STATES[s]].format(v) for v, s in zip(values[row], states[row], strict=True)]
            label = _label(scene, row) if field["tokens"] else field["name"]
            end = scene["rows"][row][1] if field["tokens"] == 1 and row < len(scene["rows"]) else None
            shown = [f"{'|' if at == end else ' '}{cell:>5}" for at, cell in enumerate(cells[:WIDEST])]
            lines.append(f"{label:>26}" + "".join(shown) + (" ..." if len(cells) > WIDEST else ""))
    signs = "(7) written, not read  ~7 stale  !7 stale, another request's slot  . never written  | the row's length"
    return "\n".join([*lines, "", signs])


def _label(scene: dict, row: int) -> str:
    person, length = scene["rows"][row] if row < len(scene["rows"]) else (NOBODY, 0)
    who = {NOBODY: "not in use", 0: f"padding, length {length}"}
    return who.get(person) or f"request {scene['people'][person]}, length {length}"
