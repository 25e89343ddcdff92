"""When do copies pay, and when is the whole refresh too short to matter? Costs in, share and verdict out."""

from collections.abc import Sequence
from dataclasses import asdict

from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure

from ...bench.evidence import Evidence, committed_set, load
from ...decision.costs import BATCHED, MOST_STEPS, Answer, Costs, answer, presets
from ...decision.criteria import BOTTLENECK_SHARE, COPY_SHARE_LIMIT, SIGNIFICANT
from .. import palette
from ..chart import COLOURS, INK, WORDS, figure, labels
from ..decisions import KEEP, LAUNCH, LEAVE
from .live import LivePicture, measured_on, middle, three, title

BATCH = "batch the copies"
PLAIN = {
    LEAVE: "Leave it: the refresh is too short a part of a round to matter.",
    KEEP: "Keep the copies: nothing here is faster by enough.",
    BATCH: "Batch the copies.",
    LAUNCH: "Do not copy at all: use one launch for all sets.",
}
STEP_MS = [2 ** (k / 3) for k in range(21)]  # 1 to about 100 ms, for the still map


def calculator(recorded: Sequence[Evidence] | None = None, steps: int = 4, step_ms: float = 8.0) -> LivePicture:
    """Number of draft steps and length of a round against share and verdict. recorded: machines."""
    data = calculator_data(load(committed_set()) if recorded is None else recorded)
    first = data["presets"][0]
    state = {"steps": steps, "step_ms": step_ms} | {
        name: first[name] for name in ("compute", "copy", "batched", "launch")
    }
    return LivePicture(
        "calculator",
        data,
        state,
        words=sentence,
        still=_still,
        hint="move the number of draft steps, the length of a round, and every cost.",
    )


def calculator_data(recorded: Sequence[Evidence]) -> dict:
    """Fields as front/calculator.js lists them."""
    named = [
        {"name": name} | {part: round(us, 2) for part, us in asdict(costs).items()}
        for name, costs in presets(recorded).items()
    ]
    return {
        "presets": named,
        "mostSteps": MOST_STEPS,
        "limits": {"share": COPY_SHARE_LIMIT, "bottleneck": BOTTLENECK_SHARE, "significant": SIGNIFICANT},
        "plain": PLAIN,
        "source": "A model: it adds up costs that were measured with 4 draft steps. One launch: graph or fused, "
        "chosen under 'costs of'. Conditions 2 and 3 decide. "
        + " ".join(measured_on(machine, "decode, 32 requests of 4,096 tokens") for machine in recorded),
    }


def judged(state: dict) -> tuple[Answer, str]:
    """What follows from a state, and the one of PLAIN that it comes to."""
    costs = Costs(*(state[name] for name in ("compute", "copy", "batched", "launch")))
    found = answer(costs, state["steps"], state["step_ms"] * 1e3)
    _, bottleneck, better = found.criteria
    if not bottleneck.met:
        return found, LEAVE
    if not better.met:
        return found, KEEP
    return found, BATCH if found.best == BATCHED else LAUNCH


def sentence(state: dict) -> str:
    """What the picture says; front/calculator.js says the same."""
    found, verdict = judged(state)
    copy, n = found.totals["copy"], state["steps"]
    part = copy / state["step_ms"] / 10
    return (
        f"With {n} draft step{'s' * (n > 1)} a refresh by copies takes {three(copy)} \u00b5s by the model. "
        f"That is {part:.1f}% of a round of {three(state['step_ms'])} ms. {PLAIN[verdict]}"
    )


def tone(verdict: str, side: str = "light") -> str:
    """The colour of a verdict's part of the map: of the way it names, or of none."""
    colours = {LEAVE: palette.NEUTRALS["panel"], KEEP: palette.STRATEGIES["copy"]}
    colours |= {BATCH: palette.STRATEGIES["batched"], LAUNCH: palette.STRATEGIES["fused"]}
    return getattr(colours[verdict].mixed(palette.PAPER, 0.0 if verdict == LEAVE else 0.55), side)


def _still(state: dict) -> Figure:
    fig = figure(3.6)
    ax, verdicts = fig.subplots(), [LEAVE, KEEP, BATCH, LAUNCH]
    shown = range(1, MOST_STEPS + 1)
    cells = [[verdicts.index(judged(state | {"steps": n, "step_ms": ms})[1]) for n in shown] for ms in STEP_MS]
    ax.pcolormesh(shown, STEP_MS, cells, cmap=ListedColormap([tone(v) for v in verdicts]), vmin=-0.5, vmax=3.5)
    for at, verdict in enumerate(verdicts):
        spots = [
            (n, ms)
            for ms, row in zip(STEP_MS, cells, strict=True)
            for n, cell in zip(shown, row, strict=True)
            if cell == at
        ]
        if spots:
            ax.text(*middle(spots, verdict, MOST_STEPS), verdict, ha="center", fontsize=WORDS + 1)
    ax.plot(state["steps"], state["step_ms"], "o", ms=11, mfc="none", mec=INK, mew=1.5)
    ax.set_yscale("log")
    ax.set_yticks([1, 2, 5, 10, 20, 50, 100], [1, 2, 5, 10, 20, 50, 100])
    ax.minorticks_off()
    ax.set_xticks(list(shown))
    labels(ax, title(sentence(state)), "draft steps N", "round, ms, log scale")
    ax.tick_params(labelsize=WORDS)
    for axis in (ax.xaxis, ax.yaxis):
        axis.label.set_size(WORDS)
    ax.grid(color=COLOURS["rest"], lw=0.3)
    return fig
