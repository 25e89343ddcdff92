"""What does computing once gain, by number of draft steps, and where does it end? Measured, claimed, modelled."""

from matplotlib.figure import Figure

from ...bench.evidence import STEPS_CASES, Evidence
from ...decision import BreakEven, measured_break_even
from ...decision.note import TOTALS
from ..chart import COLOURS, GREY, INK, WORDS, figure, labels
from .live import LivePicture, measured_on

MOST_STEPS = 16


def gain(evidence: Evidence, steps: int = 4) -> LivePicture:
    """Gain over N, with sliders for N, for computing a set and for copying one."""
    data = gain_data(evidence)
    state = {"steps": steps, "compute": data["compute"], "copy": data["copy"]}
    return LivePicture(
        "gain",
        data,
        state,
        words=lambda now: sentence(data, now),
        still=lambda now: _still(data, now),
        hint="move the number of draft steps, and what computing and copying a set cost.",
    )


def gain_data(evidence: Evidence) -> dict:
    """Fields as front/gain.js lists them; times in microseconds."""
    model = measured_break_even(evidence)
    measured = [
        {
            "steps": n,
            "eager": evidence.loop(case, "eager").median,
            "copy": evidence.loop(case, "copy").median,
            "gain": evidence.speed_up(case).median,
            "share": evidence.copy_share(case).median,
        }
        for n, case in STEPS_CASES.items()
    ]
    one = evidence.row(STEPS_CASES[1], "copy", kind="strategy")
    return {
        "compute": round(model.compute_us, 1),
        "copy": round(model.step_us, 1),
        "measured": measured,
        "claimed": [{"steps": n, **totals} for n, totals in TOTALS.items()],
        "mostSteps": MOST_STEPS,
        "source": f"With 1 draft step both strategies ask the GPU for the same {one['device_ops']:.0f} operations. "
        f"There eager took {measured[0]['gain']:.2f} times as long: that is the noise of two times of equal work. "
        f"The model is fitted to the measured times; the worst is {model.worst:.0%} away from it. "
        + measured_on(evidence, "decode, 32 requests of 4,096 tokens"),
    }


def sentence(data: dict, state: dict) -> str:
    """What the picture says; front/gain.js says the same."""
    n, model = state["steps"], BreakEven(state["compute"], state["copy"], copies=1)
    at_hand = (state["compute"], state["copy"]) == (data["compute"], data["copy"])
    found = next((m for m in data["measured"] if m["steps"] == n), None) if at_hand else None
    if found:
        how, before, after, times, share = "measured", *(found[key] for key in ("eager", "copy", "gain", "share"))
    else:
        how, before, after, times = "by the model", model.eager(n), model.copied(n), model.speed_up(n)
        share = model.copy_share(n)
    whole = [f"{int(us + 0.5):,} \u00b5s" for us in (before, after)]  # halves go up, as in the browser
    return (
        f"With {n} draft step{'s' * (n > 1)}, {how}: {whole[0]} becomes {whole[1]}, "
        f"{times:.1f} times as fast. Copies are {share:.0%} of what is left. "
        f"By the model, the gain stays below {model.speed_up_limit:.1f}, however many draft steps."
    )


def _still(data: dict, state: dict) -> Figure:
    fig = figure(3.6)
    ax, model = fig.subplots(), BreakEven(state["compute"], state["copy"], copies=1)
    shown = [1 + i / 4 for i in range(4 * MOST_STEPS - 3)]
    ax.plot(shown, [model.speed_up(n) for n in shown], color=COLOURS["copy"], lw=1.5)
    ax.axhline(model.speed_up_limit, color=GREY, lw=0.8, ls="--")
    ax.text(
        MOST_STEPS, model.speed_up_limit + 0.06, "limit 1 + compute / copy", ha="right", fontsize=WORDS, color=GREY
    )
    points = {m["steps"]: m["gain"] for m in data["measured"]}
    ax.plot(list(points), list(points.values()), "o", color=COLOURS["copy"], ms=6)
    for n, times in points.items():  # below the point, and below the line
        low = min(times, model.speed_up(n))
        ax.annotate(f"{times:.1f}", (n, low), (0, -14), textcoords="offset points", ha="center", fontsize=WORDS)
    for claim in data["claimed"]:
        n, before, after = claim["steps"], claim["before"], claim["after"]
        ax.plot(n, before / after, "D", color="white", markeredgecolor=INK, ms=7)
        said = f"the note: {before:,.0f} \u2192 {after:.0f} \u00b5s"
        ax.annotate(said, (n, before / after), (-9, -3), textcoords="offset points", ha="right", fontsize=WORDS)
    labels(
        ax,
        sentence(data, state).partition(" By the model")[0],
        "draft steps N; dots: measured, line: the model fitted to them",
        "times as fast",
    )
    ax.set_xticks(list(points), points)
    ax.set_ylim(0.5, 5.2)
    return fig
