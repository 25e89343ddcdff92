"""python -m nsa_core check: every strategy available here against the oracle, on consecutive trace steps."""

import argparse
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import torch

from ..audit import oracle
from ..batch import ReplayBatch
from ..config import ForwardMode, NSAConfig
from ..metadata import NSAMetadata
from ..multistep import MultiStepBackend
from ..strategies import StrategyInfo, strategies
from .trace import TraceEngine, TraceStep, names

_CONSTANT = ("cu_seqlens_q", "nsa_cu_seqlens_q", "flashmla_metadata.")
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
    trace: str, config: NSAConfig, info: StrategyInfo, *, steps: int, num_steps: int, max_batch: int, device: str
) -> Result:
    """Replay `steps` consecutive batches of a trace through one strategy; compare every step's set with the oracle.

    Tails are poisoned once, at capture: what a later replay leaves stale is what an engine would leave stale.
    """
    engine = TraceEngine(trace, config, max_batch=max_batch, device=device, iteration_s=_ITERATION_S)
    backend = MultiStepBackend(config, engine.req_to_token, num_steps, info.name)
    result = Result(info)
    for at in _first(engine, steps):
        before = _prepare(backend, at.batch, at.mode)
        backend.replay(at.batch, at.mode)
        result.faults += [
            f"replay {result.replays}, {fault}" for fault in _faults(backend, at, info.contract, before)
        ]
        result.replays += 1
        result.requests += at.batch.bs
        result.longest = max(result.longest, int(at.batch.seq_lens.max()))
    return result


def _prepare(backend: MultiStepBackend, batch: ReplayBatch, mode: ForwardMode) -> list[dict[str, torch.Tensor]]:
    try:
        sets = backend.sets(batch.bs, mode)
    except KeyError:
        sets = backend.capture(batch.bs, mode)
        for captured in sets:
            poison(captured)
    return [{name: tensor.clone() for name, tensor in captured.tensors().items()} for captured in sets]


def poison(captured: NSAMetadata) -> None:
    """Fill every cell a replay may write, so that what it leaves is seen. Leading zeros and constants stay."""
    for name, tensor in captured.tensors().items():
        if not name.startswith(_CONSTANT):
            (tensor[1:] if "cu_seqlens" in name else tensor).fill_(_POISON)


def _faults(
    backend: MultiStepBackend, at: TraceStep, contract: str, before: list[dict[str, torch.Tensor]]
) -> list[str]:
    faults = []
    for step, captured in enumerate(backend.sets(at.batch.bs, at.mode)):
        cells = oracle.expected(
            backend.config,
            backend.req_to_token,
            at.batch,
            at.mode,
            captured,
            contract=contract,
            step=step,
            num_steps=len(backend),
        )
        kept = before[step] if contract == "exact" else None
        faults += [f"{at.mode.value}, step {step}: {f}" for f in oracle.differences(captured, cells, kept)]
    return faults


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
    parser.add_argument("--steps", type=int, default=300, help="consecutive trace steps (default %(default)s)")
    parser.add_argument("--draft-steps", type=int, default=3, help="N captured draft steps (default %(default)s)")
    parser.add_argument("--strategy", action="append", help="only this one; may be repeated")
    parser.add_argument("--trace", choices=names(), action="append", help="only this trace; may be repeated")
    parser.add_argument(
        "--width",
        type=int,
        help="table columns; longer requests are left out "
        "(default: 131072 on a GPU, 8192 on a CPU, 2048 where kernels are interpreted)",
    )
    parser.add_argument("--max-batch", type=int, default=8, help="requests at once (default %(default)s)")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")


def main(args: argparse.Namespace) -> int:
    known = strategies(args.device)
    unknown = set(args.strategy or ()) - set(known)
    if unknown:
        print(f"no strategy named {', '.join(sorted(unknown))}; there are {', '.join(known)}")
        return 2
    chosen = [known[name] for name in args.strategy or known]
    rows = [(trace, _run(args, trace, info)) for info in chosen if info.available for trace in args.trace or names()]
    _print_table(rows)
    for info in chosen:
        if not info.available:
            print(f"{info.name} was not run: {info.reason}")
    return 1 if any(result.faults for _, result in rows) else 0


def _run(args: argparse.Namespace, trace: str, info: StrategyInfo) -> Result:
    width = args.width or _default_width(args.device, info)
    sms = 132 if torch.device(args.device).type == "cuda" else 12  # an interpreted kernel pays for every SM
    config = NSAConfig(max_context_len=width, flashmla_num_sm_parts=sms // 2, paged_mqa_num_sms=sms)
    return check(
        trace,
        config,
        info,
        steps=args.steps,
        num_steps=args.draft_steps,
        max_batch=args.max_batch,
        device=args.device,
    )


def _default_width(device: str, info: StrategyInfo) -> int:
    if torch.device(device).type == "cuda":
        return 131072
    return 2048 if "Triton" in info.needs else 8192


def _print_table(rows: list[tuple[str, Result]]) -> None:
    head = ("strategy", "contract", "trace", "replays", "requests", "longest", "against the oracle")
    lines = [head] + [
        (r.info.name, r.info.contract, trace, str(r.replays), str(r.requests), str(r.longest), r.verdict)
        for trace, r in rows
    ]
    widths = [max(len(line[column]) for line in lines) for column in range(len(head) - 1)] + [0]
    for line in lines:
        print("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())
