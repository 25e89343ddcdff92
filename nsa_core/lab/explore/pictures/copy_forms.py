"""Six strategies make the same copies: which is faster, by what is refreshed? Measured."""

from matplotlib.figure import Figure

from ...bench.evidence import PLANS, Evidence
from ..chart import COLOURS, GREY, INK, WORDS, figure, labels, name_rows
from .live import LivePicture, measured_on, three

STRATEGIES = ("copy", "foreach", "batched-each", "batched", "batched-strided", "batched-steps")

BESIDE = {"textcoords": "offset points", "va": "center", "fontsize": WORDS}


def forms(evidence: Evidence, plan: str = "decode, 4 draft steps") -> LivePicture:
    """A refresh by every strategy that copies; what is refreshed can be changed."""
    data = forms_data(evidence)
    return LivePicture(
        "forms",
        data,
        {"plan": plan},
        words=lambda now: sentence(data, now),
        still=lambda now: _still(data, now),
        hint="choose what is refreshed: more draft steps, another mode, longer requests.",
    )


def forms_data(evidence: Evidence) -> dict:
    """Fields as front/forms.js lists them; times in microseconds."""
    return {
        "plans": {
            label.replace(" step", " draft step"): [_timed(evidence, case, name) for name in STRATEGIES]
            for label, case in PLANS.items()
        },
        "source": "How many times as fast is found in each run; the median is shown. "
        + measured_on(evidence, "32 requests of 4,096 tokens where nothing else is said"),
    }


def _timed(evidence: Evidence, case: str, name: str) -> dict:
    row, faster = evidence.row(case, name, kind="strategy"), evidence.faster(case, name)
    times = {"us": row["loop_us"], "device": row["device_us"], "operations": int(row["device_ops"])}
    return {"name": name, **times, "faster": faster.median, "low": faster.low, "high": faster.high}


def sentence(data: dict, state: dict) -> str:
    """What the picture says; front/forms.js says the same."""
    copy, *others = data["plans"][state["plan"]]
    listed = ", ".join(f"{way['name']} {way['faster']:.2f}" for way in others)
    taken = f"{state['plan']}: copy takes {three(copy['us'])} \u00b5s."
    return f"{taken} Times as fast as copy (above 1 is faster): {listed}."


def _still(data: dict, state: dict) -> Figure:
    ways, fig = data["plans"][state["plan"]], figure(3.4)
    most = max(way["us"] for way in ways)
    ax = fig.subplots()
    for row, way in enumerate(ways):
        ax.barh(row - 0.12, way["us"], height=0.5, color=COLOURS[way["name"]])
        ax.barh(row + 0.3, way["device"], height=0.16, color=INK)
        ax.annotate(f"GPU {three(way['device'])} \u00b5s", (way["device"], row + 0.3), (4, 0), **BESIDE, color=GREY)
        said = f"{three(way['us'])} \u00b5s" + (f", {way['faster']:.2f} times as fast" if row else "")
        ax.annotate(said, (most, row - 0.12), (7, 0), **BESIDE)
    ax.axvline(ways[0]["us"], color=GREY, lw=0.8, ls="--", zorder=0)
    name_rows(ax, [way["name"] for way in ways])
    ax.set_xlim(0, 1.35 * most)
    ax.set_xticks([tick for tick in ax.get_xticks() if tick <= most])  # no line crosses the times
    labels(
        ax,
        f"{state['plan']}: one refresh by six strategies; dashed: copy",
        "microseconds; blue: PyTorch's own calls, purple: Triton kernels; thin bars: the GPU's time",
        "",
    )
    ax.tick_params(labelsize=WORDS)
    ax.grid(False, axis="y")
    return fig
