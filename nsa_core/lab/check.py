"""python -m nsa_core check: every strategy available here against the oracle, on consecutive trace steps."""

import argparse
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import torch

from ..audit.compare import Comparison
from ..audit.report import table
from ..config import NSAConfig, require_int
from ..multistep import MultiStepBackend
from ..strategies import StrategyInfo, strategies
from .device import device_named
from .trace import TraceEngine, TraceStep, names

_POISON = -7777
_ITERATION_S = 0.5  # slower than any engine, so that a few hundred steps see full batches


@dataclass
class Result:
    """What became of one strategy."""

    info: StrategyInfo
    replays: int = 0
    requests: int = 0
    longest: int = 0
    faults: list[str] = field(default_factory=list)

    @property
    def verdict(self) -> str:
        return f"{len(self.faults)} faults; first: {self.faults[0]}" if self.faults else "equal"


def check(
    trace: str,
    config: NSAConfig,
    info: StrategyInfo,
    *,
    steps: int,
    num_steps: int,
    max_batch: int,
    device: torch.device | str,
) -> Result:
    """Replay `steps` consecutive batches of a trace through one strategy; compare every step's set with the oracle.

    Tails are poisoned once, at capture: what a later replay leaves stale is what an engine would leave stale.
    """
    require_int("steps", steps, 1)
    engine = TraceEngine(trace, config, max_batch=max_batch, device=device, iteration_s=_ITERATION_S)
    backend, result = MultiStepBackend(config, engine.req_to_token, num_steps, info.name), Result(info)
    for at in _first(engine, steps):
        comparison = _compared(backend, at, info.contract)
        before, cells = comparison.snapshot(), comparison.expected(at.batch)
        backend.replay(at.batch, at.mode)
        for fault in comparison.findings(cells, before):
            result.faults.append(f"replay {result.replays}, {at.mode.value}, step {fault.step}: {fault.message}")
        result.replays += 1
        result.requests += at.batch.bs
        result.longest = max(result.longest, int(at.batch.seq_lens.max()))
    return result


def _compared(backend: MultiStepBackend, at: TraceStep, contract: str) -> Comparison:
    """The sets that serve a trace step; poisoned when they are captured."""
    try:
        sets, is_new = backend.sets(at.batch.bs, at.mode), False
    except KeyError:
        sets, is_new = backend.capture(at.batch.bs, at.mode), True
    comparison = Comparison(sets, backend.config, backend.req_to_token, at.mode, contract)
    if is_new:
        comparison.poison(_POISON)
    return comparison


def _first(engine: Iterable[TraceStep], steps: int) -> Iterator[TraceStep]:
    for _, step in zip(_progress(range(steps)), engine, strict=False):
        yield step


def _progress(counted: range) -> Iterable[int]:
    """A progress bar on a terminal, where tqdm is installed; counting works without."""
    try:
        from tqdm import tqdm
    except ImportError:
        return counted
    return tqdm(counted, leave=False, disable=None)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = "Replay consecutive steps of recorded traffic through every strategy; compare every cell."
    parser.epilog = "example: python -m nsa_core check --trace-steps 50 --strategy copy --trace azure"
    parser.add_argument(
        "--trace-steps", type=int, default=300, metavar="N", help="consecutive trace steps (default %(default)s)"
    )
    parser.add_argument("--steps", type=int, default=3, metavar="N", help="draft steps (default %(default)s)")
    parser.add_argument("--strategy", action="append", metavar="NAME", help="only this one; may be repeated")
    parser.add_argument("--trace", choices=names(), action="append", help="only this trace; may be repeated")
    width = "table columns; longer requests are left out (default: 131072 on a GPU, 8192 on a CPU, 2048 interpreted)"
    parser.add_argument("--width", type=int, metavar="W", help=width)
    parser.add_argument(
        "--max-batch", type=int, default=8, metavar="BS", help="requests at once (default %(default)s)"
    )
    parser.add_argument("--device", metavar="NAME", help="cpu or cuda; default the GPU if there is one")


def main(args: argparse.Namespace) -> int:
    """Exit status 1 when a cell differs, 2 when nothing was compared or a strategy asked for cannot run here."""
    device = device_named(args.device)
    known = strategies(device)
    unknown = set(args.strategy or ()) - set(known)
    if unknown:
        raise ValueError(f"no strategy named {', '.join(sorted(unknown))}; there are {', '.join(known)}")
    chosen = [known[name] for name in args.strategy or known]
    able, traces = [info for info in chosen if info.available], args.trace or names()
    rows = [(trace, _run(args, device, trace, info)) for info in able for trace in traces]
    _print_results(rows)
    _print_reasons([info for info in chosen if not info.available])
    if any(result.faults for _, result in rows):
        return 1
    return 0 if rows and (args.strategy is None or able == chosen) else 2


def _run(args: argparse.Namespace, device: torch.device, trace: str, info: StrategyInfo) -> Result:
    width = _default_width(device, info) if args.width is None else args.width
    require_int("width", width, 1)
    sms = 132 if device.type == "cuda" else 12  # an interpreted kernel pays for every SM
    config = NSAConfig(max_context_len=width, flashmla_num_sm_parts=sms // 2, paged_mqa_num_sms=sms)
    sizes = {"steps": args.trace_steps, "num_steps": args.steps, "max_batch": args.max_batch}
    return check(trace, config, info, **sizes, device=device)


def _default_width(device: torch.device, info: StrategyInfo) -> int:
    if device.type == "cuda":
        return 131072
    return 2048 if info.needs_triton else 8192


def _print_results(rows: list[tuple[str, Result]]) -> None:
    header = ("strategy", "contract", "trace", "replays", "requests", "longest", "against the oracle")
    lines = [
        (r.info.name, r.info.contract, trace, str(r.replays), str(r.requests), str(r.longest), r.verdict)
        for trace, r in rows
    ]
    print("\n".join(table(header, lines)))


def _print_reasons(unavailable: list[StrategyInfo]) -> None:
    """One line per reason, with the strategies it keeps from running."""
    by_reason: dict[str | None, list[str]] = {}
    for info in unavailable:
        by_reason.setdefault(info.reason, []).append(info.name)
    for reason, strategy_names in by_reason.items():
        print(f"not run: {', '.join(strategy_names)}: {reason}")
