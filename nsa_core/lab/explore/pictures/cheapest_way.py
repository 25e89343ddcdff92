"""Which strategy is cheapest where? By number of draft steps and by tokens in the batch, by a model."""

from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure

from ...bench import BenchCase
from ...bench.evidence import Evidence
from ...decision.criteria import SIGNIFICANT
from ...decision.times import Times, fitted, moved_by
from .. import palette
from ..chart import INK, WORDS, figure, labels
from .live import LivePicture, measured_on, middle, three, title

MOST_STEPS, TOKENS = 16, [2**k for k in range(10, 29)]
STRATEGIES = ("copy", "graph", "shared+graph")


def strategy_map(evidence: Evidence, steps: int = 4, tokens: int = 131_072) -> LivePicture:
    """The map; strategies can be taken away, to see what is second best."""
    data = map_data(evidence)
    return LivePicture(
        "strategy_map",
        data,
        {"steps": steps, "tokens": tokens, "without": []},
        words=lambda now: sentence(data, now),
        still=lambda now: _still(data, now),
        hint="move over the map, and take a strategy away.",
    )


def map_data(evidence: Evidence) -> dict:
    """Fields as front/strategy_map.js lists them."""
    times, measured = fitted(evidence), measured_on(evidence, "the decode cases that the model is fitted to")
    return {
        "ways": list(STRATEGIES),
        "tokens": TOKENS,
        "mostSteps": MOST_STEPS,
        "wins": SIGNIFICANT,
        "model": _model(times),
        "bytes": {str(n): _bytes_per_token(n) for n in range(1, MOST_STEPS + 1)},
        "source": "Our cost model: the time of a launch, or of the bytes at the bandwidth of a large copy, whichever "
        f"is longer. {measured}",
    }


def _model(times: Times) -> dict:
    own = {"compute": times.copies.compute_us, "copy": times.copies.step_us}
    return own | {"launch": times.launch, "start": times.start, "perUs": times.per_us, "gap": times.gap}


def _bytes_per_token(steps: int) -> dict[str, float]:
    moved = moved_by(BenchCase("unit", bs=1, lengths=1024, steps=steps))
    return {"copy": moved.copy / 1024, "graph": moved.generate / 1024, "shared+graph": moved.share / 1024}


def border(evidence: Evidence, steps: int) -> int:
    """The fewest tokens for which the map names `shared+graph`."""
    data = map_data(evidence)
    return next(tokens for tokens in TOKENS if winner(data, steps, tokens, []) == "shared+graph")


def times_of(data: dict, steps: int, tokens: float) -> dict[str, float]:
    """Microseconds of a refresh by each strategy; `decision.times.Times` over the same numbers."""
    m, moved = data["model"], data["bytes"][str(steps)]
    found = {"copy": max(m["compute"] + steps * m["copy"], moved["copy"] * tokens / m["perUs"])}
    for way in STRATEGIES[1:]:
        found[way] = max(m["launch"], m["start"] + moved[way] * tokens / m["perUs"] + m["gap"])
    return found


def winner(data: dict, steps: int, tokens: float, without: list[str]) -> str:
    """The cheapest strategy; among those that tie the one that asks least: copy, graph, shared+graph."""
    found = {way: us for way, us in times_of(data, steps, tokens).items() if way not in without}
    least = min(found.values())
    return next(way for way, us in found.items() if us < data["wins"] * least)


def sentence(data: dict, state: dict) -> str:
    """What the picture says; front/strategy_map.js says the same."""
    n, tokens = state["steps"], state["tokens"]
    found, best = times_of(data, n, tokens), winner(data, n, tokens, state["without"])
    listed = ", ".join(f"{way} {three(us)} \u00b5s" for way, us in found.items() if way not in state["without"])
    others = f"; copy takes {three(found['copy'] / found[best])} times as long" if best != "copy" else ""
    return (
        f"{n} draft step{'s' * (n > 1)}, {tokens:,} tokens in the batch, by the model: {listed}. Use {best}{others}."
    )


def _still(data: dict, state: dict) -> Figure:
    fig, shown = figure(3.6), list(range(1, MOST_STEPS + 1))
    ax, ways = fig.subplots(), [way for way in STRATEGIES if way not in state["without"]]
    cells = [[ways.index(winner(data, n, tokens, state["without"])) for n in shown] for tokens in TOKENS]
    tones = [palette.STRATEGIES[way].mixed(palette.PAPER, 0.55).light for way in ways]
    ax.pcolormesh(shown, TOKENS, cells, cmap=ListedColormap(tones), vmin=-0.5, vmax=len(ways) - 0.5)
    for at, way in enumerate(ways):
        spots = [
            (n, t)
            for t, row in zip(TOKENS, cells, strict=True)
            for n, cell in zip(shown, row, strict=True)
            if cell == at
        ]
        if spots:
            ax.text(*middle(spots, way, MOST_STEPS), way, ha="center", fontsize=WORDS + 1)
    ax.plot(state["steps"], state["tokens"], "o", ms=11, mfc="none", mec=INK, mew=1.5)
    ax.set_yscale("log", base=2)
    ax.set_yticks([2**10, 2**15, 2**20, 2**25], ["1 k", "32 k", "1 M", "32 M"])
    ax.set_xticks(shown)
    labels(ax, title(sentence(data, state)), "draft steps N", "tokens in the batch")
    ax.tick_params(labelsize=WORDS)
    for axis in (ax.xaxis, ax.yaxis):
        axis.label.set_size(WORDS)
    ax.grid(False)
    return fig
