"""What does a refresh cost in each of the engine's designs, and on the same sets by one recorded launch?"""

from matplotlib.figure import Figure

from ...releases import recorded
from ...releases.recorded import CASES, GPUS, TIMED
from ..chart import COLOURS, GREY, INK, WORDS, figure, labels
from .live import LivePicture, three
from .tables import Table, table

DESIGNS = {  # as few words as a row has room for
    "0.5.6.post2": ("Dec 2025", "every set is computed"),
    "0.5.7": ("Jan 2026", "computed once, copied one by one"),
    "0.5.10.post1": ("Apr 2026", "computed once, copied to three sets at once (CUDA)"),
    "0.5.23": ("Oct 2026", "computed in one launch, copied to three sets at once"),
}
ONE_LAUNCH = "graph"
AUDITED = {  # by release, and by what is switched off: the design, as above
    ("0.5.6.post2", ""): "0.5.6.post2",
    ("0.5.7", "SGLANG_NSA_ENABLE_MTP_PRECOMPUTE_METADATA=0"): "0.5.6.post2",
    ("0.5.7", ""): "0.5.7",
    ("0.5.8", ""): "0.5.7",
    ("0.5.9", ""): "0.5.10.post1",
    ("0.5.10.post1", ""): "0.5.10.post1",
    ("0.5.23", ""): "0.5.23",
}
SETS = (2, 3, 4)


def releases(steps: int = 4, gpu: str = "h200") -> LivePicture:
    """SGLang's releases and this package's `graph` on their sets; how many and which GPU can be chosen."""
    data = releases_data()
    return LivePicture(
        "releases",
        data,
        {"steps": steps, "gpu": gpu},
        words=lambda now: sentence(data, now),
        still=lambda now: _still(data, now),
        hint="choose the number of sets and the GPU, and point at a dot.",
    )


def audited() -> Table:
    """Which sets keep an old plan in the draft steps of six releases, by how many sets there are."""
    caption = "How many sets keep an old plan (paged_mqa_schedule_metadata) after a refresh; \u2013: not audited. "
    rows = [_old_plans(*which, design) for which, design in AUDITED.items()]
    return table(rows, caption=f"{caption}Audited on an NVIDIA H100, 25 November 2026.")


def _old_plans(version: str, flags: str, design: str) -> dict:
    found = {a.sets: a for a in recorded.audits() if (a.version, a.flags, a.mode) == (version, flags, "decode")}
    says = {f"{n} sets": _old(found[n]) if n in found else None for n in SETS}
    name = f"{version}, computing once switched off" if flags else version
    return {"release": name, "how it refreshes": DESIGNS[design][1]} | says


def _old(audit: recorded.Audited) -> str:
    """How many sets keep their plan; a finding names steps as `0-2`."""
    ends = [steps.split("-") for kind, _, steps in audit.findings if kind == "not refreshed"]
    old = sum(int(end[-1]) - int(end[0]) + 1 for end in ends)
    return f"{old} old" if old else "clean"


def releases_data() -> dict:
    """Fields as front/releases.js lists them; microseconds of loop time."""
    return {
        "designs": [{"version": v, "when": when, "design": words} for v, (when, words) in DESIGNS.items()],
        "gpus": GPUS,
        "steps": list(CASES),
        "times": {gpu: {str(n): [_times(v, n, gpu) for v in TIMED] for n in CASES} for gpu in GPUS},
        "source": "Decode, 32 requests of 4,096 tokens, one refresh, repeated back to back; each row is one "
        f"process, in which both were timed in turns. {'; '.join(recorded.conditions(gpu=gpu) for gpu in GPUS)}.",
    }


def _times(version: str, steps: int, gpu: str) -> dict:
    theirs, ours = (recorded.timed(version, steps, name, gpu) for name in (None, ONE_LAUNCH))
    return {
        "theirs": theirs["loop_us"],
        "low": theirs["loop_us_q1"],
        "high": theirs["loop_us_q3"],
        "ours": ours["loop_us"],
        "operations": round(theirs["device_ops"]),
    }


def sentence(data: dict, state: dict) -> str:
    """What the picture says; front/releases.js says the same."""
    found, designs = data["times"][state["gpu"]][str(state["steps"])], data["designs"]
    then, now, ours = (three(us) for us in (found[0]["theirs"], found[-1]["theirs"], found[-1]["ours"]))
    return (
        f"{state['steps']} sets on an {data['gpus'][state['gpu']]}: one refresh took {then} \u00b5s in "
        f"{designs[0]['version']} and takes {now} \u00b5s in {designs[-1]['version']}. "
        f"One recorded launch takes {ours} \u00b5s on the same sets."
    )


def _still(data: dict, state: dict) -> Figure:
    fig, found = figure(2.9), data["times"][state["gpu"]][str(state["steps"])]
    ax = fig.subplots()
    for row, (times, design) in enumerate(zip(found, data["designs"], strict=True)):
        ax.plot([times["ours"], times["theirs"]], [row, row], color=GREY, lw=0.6)
        ax.plot(times["theirs"], row, "o", color=COLOURS["copy"], ms=8)
        ax.plot(times["ours"], row, "o", color=COLOURS["graph"], ms=8)
        ax.text(
            times["theirs"], row - 0.22, f"{three(times['theirs'])} \u00b5s", ha="center", fontsize=WORDS, color=INK
        )
        ax.text(times["ours"], row - 0.22, f"{three(times['ours'])} \u00b5s", ha="center", fontsize=WORDS, color=INK)
        ax.text(26, row + 0.32, design["design"], fontsize=WORDS, color=GREY)
    names = [f"{design['version']}\n{design['when']}" for design in data["designs"]]
    ax.set(xscale="log", xlim=(6, 4000), ylim=(3.6, -0.7))
    labels(
        ax,
        sentence(data, state).partition(" One recorded")[0],
        "microseconds of a refresh, log scale; dark: one recorded launch",
        "",
    )
    ax.set_yticks(range(len(names)), names)
    return fig
