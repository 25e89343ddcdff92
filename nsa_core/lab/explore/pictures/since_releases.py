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
BESIDE = {"textcoords": "offset points", "va": "center", "fontsize": WORDS, "color": INK}
AUDITED = {  # by release, and by what is switched off: the design, as above
    ("0.5.6.post2", ""): "0.5.6.post2",
    ("0.5.7", "SGLANG_NSA_ENABLE_MTP_PRECOMPUTE_METADATA=0"): "0.5.6.post2",
    ("0.5.7", ""): "0.5.7",
    ("0.5.8", ""): "0.5.7",
    ("0.5.9", ""): "0.5.10.post1",
    ("0.5.10.post1", ""): "0.5.10.post1",
    ("0.5.23", ""): "0.5.23",
}
OTHER_PASSES = {"target_verify": "target verify", "draft_extend": "draft extend"}
WITHOUT_PLAN = ("0.5.6.post2",)  # older than the plan


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
    """What was found of six releases: whether a draft step's plan is refreshed, and whether the CPU waits."""
    caption = "The plan: paged_mqa_schedule_metadata. Stale: not refreshed. Clean: nothing found. "
    waits = "Synchronises: the CPU waits for the GPU. "
    rows = [_found(*which, design) for which, design in AUDITED.items()]
    return table(rows, caption=f"{caption}{waits}Audited on an NVIDIA H100, 25 November 2026.")


def _found(version: str, flags: str, design: str) -> dict:
    of = [audit for audit in recorded.audits() if (audit.version, audit.flags) == (version, flags)]
    plans = "; ".join(_plan(audit) for audit in of if audit.mode == "decode")
    others = {name: _waits(next(a for a in of if a.mode == mode)) for mode, name in OTHER_PASSES.items()}
    return {
        "release": f"{version}, computing once switched off" if flags else version,
        "how it refreshes": DESIGNS[design][1],
        "plan of the draft steps": "has no such array" if version in WITHOUT_PLAN else plans,
    } | others


def _plan(audit: recorded.Audited) -> str:
    """In how many of its sets the plan is stale; a finding names sets as `0-2`."""
    ends = [sets.split("-") for kind, _, sets in audit.findings if kind == "not refreshed"]
    stale = sum(int(end[-1]) - int(end[0]) + 1 for end in ends)
    return f"stale in {stale} of {audit.sets} sets" if stale else f"clean in {audit.sets} sets"


def _waits(audit: recorded.Audited) -> str:
    return "synchronises" if any(kind == "host synchronisation" for kind, *_ in audit.findings) else "clean"


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
        for us, aside, side in ((times["theirs"], 8, "left"), (times["ours"], -8, "right")):
            ax.annotate(f"{three(us)} \u00b5s", (us, row), (aside, 0), ha=side, **BESIDE)
        ax.text(10, row - 0.28, design["design"], fontsize=WORDS, color=GREY)
    names = [f"{design['version']}\n{design['when']}" for design in data["designs"]]
    ax.set(xscale="log", xlim=(4, 4000), ylim=(3.5, -0.7))
    labels(
        ax,
        sentence(data, state).partition(" One recorded")[0],
        "microseconds of a refresh, log scale; dark: one recorded launch",
        "",
    )
    ax.set_xticks([10, 100, 1000], ["10", "100", "1,000"])
    ax.minorticks_off()
    ax.grid(False, axis="y")
    ax.set_yticks(range(len(names)), names)
    return fig
