"""What happens for each token? One round of speculative decoding, and the refresh that every part of it waits for."""

import textwrap

from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch

from ..chart import COLOURS, GREY, INK, WORDS, figure
from .live import LivePicture

STEPS, ROWS = 3, 4  # N guesses; d rows a request: the last sure token and the guesses
BOXES = {
    "refresh-draft": {
        "title": "Refresh before drafting",
        "text": "Every draft step is a recorded CUDA graph. It reads lengths and page tables from arrays at fixed "
        "addresses: its set. A page table says where in memory each token lies. The new values have to be put there "
        "first.",
        "writes": f"Writes {STEPS} sets of arrays, one for each draft step, with 1 row for each request. "
        "All of them hold the same values.",
    },
    "draft": {
        "title": "Draft step {i}",
        "text": "The small model guesses one more token. By sparse attention it looks only at the earlier tokens "
        "that matter most, and finds them through the page table of its set.",
    },
    "refresh-verify": {
        "title": "Refresh before the check",
        "text": f"The big model will look at {ROWS} tokens of every request in one pass: the last sure one and the "
        f"{STEPS} guesses.",
        "writes": f"Writes 1 set with {ROWS} rows for each request. Each row sees one token more than the row above.",
    },
    "verify": {
        "title": "Target verify",
        "text": "The big model says for each of these tokens what it would have written next. Guesses are kept up to "
        "the first that differs; there the big model's own word takes over.",
    },
    "refresh-extend": {
        "title": "Refresh before catching up",
        "text": "Only accepted tokens count now, and their number differs from request to request.",
        "writes": f"Writes 1 set with as many rows for a request as it accepted: 1 to {ROWS}.",
    },
    "extend": {
        "title": "Draft extend",
        "text": "The small model reads the accepted tokens once more, with what the big model made of them, so that "
        "its own memory is up to date. Then the next round begins.",
    },
}
DATA = {
    "steps": STEPS,
    "rows": ROWS,
    "context": ["The", "old", "cat", "lay", "on"],
    "rounds": [
        {"guesses": ["the", "warm", "sofa"], "accepted": 2, "own": "stone", "other": 1},
        {"guesses": ["and", "fell", "asleep"], "accepted": 3, "own": ".", "other": 2},
        {"guesses": ["It", "was", "late"], "accepted": 0, "own": "Then", "other": 4},
    ],
    "boxes": BOXES,
    "source": "An example with 3 guesses a round. The refresh is what this project is about.",
    "bars": "The filled boxes are the refreshes. Their bars are rows of the page tables of two requests; each bar is "
    "as long as its row.",
}


def loop(moment: int = 0) -> LivePicture:
    """The round, to be played or walked through; moment: where to begin."""
    return LivePicture(
        "loop",
        DATA,
        {"moment": moment},
        words=lambda _state: words(),
        still=lambda _state: _still(),
        hint="play a round, or point at a box to read what happens there.",
    )


def words() -> str:
    """Every box in order."""
    lines = [f"One round of speculative decoding, {STEPS} guesses:"]
    for box in BOXES.values():
        title = box["title"].replace("{i}", f"1 to {STEPS}")
        lines.append(f"- {title}. {box['text']} {box.get('writes', '')}".rstrip())
    return "\n".join(lines)


def _still() -> Figure:
    """The six boxes in a row, each with its words below."""
    fig = figure(3.1)
    ax, left = fig.subplots(), 0.0
    colours = {"draft": "decode", "verify": "target_verify", "extend": "draft_extend"}
    for name, box in BOXES.items():
        mode = colours.get(name)
        title = box["title"].replace("Draft step {i}", f"{STEPS} draft steps") if mode else "refresh"
        fill, ink = (COLOURS[mode] if mode else INK), "white"
        ax.add_patch(
            FancyBboxPatch((left, 0.8), 0.86, 0.2, boxstyle="round,pad=0,rounding_size=0.04", fc=fill, ec="none")
        )
        ax.text(left + 0.43, 0.9, title, ha="center", va="center", color=ink, fontsize=WORDS)
        said = textwrap.fill(box.get("writes") or box["text"], 21)
        ax.text(left, 0.74, said, va="top", fontsize=WORDS - 0.5, color=GREY, linespacing=1.3)
        if left:
            ax.annotate("", (left - 0.005, 0.9), (left - 0.135, 0.9), arrowprops={"arrowstyle": "->", "color": GREY})
        left += 1
    back = {"arrowstyle": "->", "connectionstyle": "arc3,rad=0.06", "color": GREY, "mutation_scale": 10}
    ax.add_patch(FancyArrowPatch((5.43, 1.03), (0.43, 1.03), **back))
    ax.text(2.93, 1.19, "next round", ha="center", fontsize=WORDS, color=GREY)
    ax.set(xlim=(-0.02, 5.9), ylim=(-0.05, 1.3))
    ax.axis("off")
    return fig
