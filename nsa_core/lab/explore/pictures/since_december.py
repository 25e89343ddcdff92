"""What was tried, kept, reverted and tried again since December 2025? Every event has a date and a source."""

from datetime import date

from matplotlib.dates import DateFormatter, MonthLocator
from matplotlib.figure import Figure

from ...bench.evidence import Evidence
from ...decision.note import TOTALS
from ..chart import GREY, INK, WORDS, figure
from .live import LivePicture, three

SGLANG_AT = "https://github.com/sgl-project/sglang/"
TO = "\u00a0\u2192\u00a0"
NOTE, SGLANG, HERE = "the note", "SGLang", "this project"
# Days of merged changes and releases as their own pages give them, read in November 2026.
UPSTREAM = (
    (
        "2025-12-18",
        "Computed once, in SGLang",
        "SGLang merges what the note calls kept: the values of all sets are computed once and copied. Published: "
        f"642{TO}437 \u00b5s for preparing a replay. One array is on no list of the new code.",
        "pull/14781",
    ),
    (
        "2026-02-14",
        "Batched copies are back",
        "One CUDA kernel copies into three sets at once. Where there are more than three, the others follow one by "
        "one.",
        "pull/17554",
    ),
    (
        "2026-05-07",
        "A test run hangs",
        "The kernel that hangs reads the array that was forgotten in December. This is mended for one and two sets, "
        "but not where three sets are copied at once.",
        "issues/24571",
    ),
    (
        "2026-06-30",
        "One launch computes",
        "A single launch computes the lengths, sums and page tables of one set. They are still copied to the other "
        "sets.",
        "pull/29499",
    ),
)


def history(evidence: Evidence, note: str = "december-2025.md") -> LivePicture:
    """The timeline. note: address of a page about the December 2025 note, to link to."""
    data = {"events": events(evidence, note), "source": "The day of a change is the day on which it was merged."}
    return LivePicture(
        "history",
        data,
        {"event": 0},
        words=lambda _state: "\n".join(f"{e['date']} {e['who']}: {e['title']}. {e['text']}" for e in data["events"]),
        still=lambda _state: _still(data["events"]),
        hint="point at an event to read what happened, and follow its source.",
    )


def events(evidence: Evidence, note: str = "december-2025.md") -> list[dict]:
    """Oldest first; fields as front/history.js lists them."""
    note_says = f"{TOTALS[4]['before']:.0f}{TO}{TOTALS[4]['after']:.0f} \u00b5s with 4 draft steps"
    found = [
        _event(
            "2025-12-04",
            NOTE,
            "Batched copies reverted",
            "Computing once is kept; the kernel that batches its copies is taken out again. It had crashed, and "
            f"was to make a refresh only 5 to 6% shorter. Claimed for computing once: {note_says}.",
            "the December 2025 note",
            note,
        )
    ]
    found += [
        _event(day, SGLANG, title, text, f"sglang#{at.partition('/')[2]}", SGLANG_AT + at)
        for day, title, text, at in UPSTREAM
    ]
    eager, copy, graph = (three(evidence.loop("record-4", name).median) for name in ("eager", "copy", "graph"))
    ran = date.fromisoformat(max(row["date"] for row in evidence.rows)[:10])
    found += [
        _event(
            ran.isoformat(),
            HERE,
            "Measured and audited",
            f"On an {evidence.machine}, 4 draft steps: computing every set {eager} \u00b5s, copying {copy}, one "
            f"recorded launch {graph}. An audit of release 0.5.23 finds one array still out of date. With three sets "
            "or more, the plan of the indexer's kernel is not refreshed in the first three.",
            "09_what_happened_next",
            "09_what_happened_next.ipynb",
        )
    ]
    return found


def _event(day: str, who: str, title: str, text: str, source: str, url: str) -> dict:
    return {"date": day, "who": who, "title": title, "text": text, "source": source, "url": url}


def _still(found: list[dict]) -> Figure:
    fig = figure(3.0)
    ax, days = fig.subplots(), [date.fromisoformat(e["date"]) for e in found]
    ax.axhline(0, color=GREY, lw=1)
    for event, day, level in zip(found, days, (-1, 2, 1, 2, 1, -1), strict=True):
        right = day > date(2026, 9, 1)
        ax.plot([day, day], [0, level - 0.2 if level > 0 else level + 0.2], color=GREY, lw=0.6)
        ax.plot(day, 0, "o", color=INK, ms=6)
        ax.text(day, level, event["title"], ha="right" if right else "left", va="center", fontsize=WORDS)
    ax.set(ylim=(-2.7, 3.2), xlim=(date(2025, 11, 25), date(2026, 12, 4)))
    for y, who in ((2.8, SGLANG), (-2, f"{NOTE} and {HERE}")):
        ax.text(date(2025, 12, 1), y, who, fontsize=WORDS, color=GREY)
    ax.xaxis.set_major_locator(MonthLocator(bymonth=(1, 4, 7, 10)))
    ax.xaxis.set_major_formatter(DateFormatter("%b %Y"))
    ax.tick_params(labelsize=WORDS - 0.5, length=0)
    ax.yaxis.set_visible(False)
    ax.spines[:].set_visible(False)
    return fig
