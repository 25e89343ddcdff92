"""python -m nsa_core audit: every strategy that can run here, in each mode, at several page sizes and step counts."""

import argparse
from collections.abc import Iterable, Iterator

import torch

from ..config import NSAConfig, require_int
from ..strategies import StrategyInfo, strategies
from .own import MODES, audit_strategy, token_table
from .report import AuditReport, table

BATCH_SIZE, POOL, WIDTH = 5, 9, 333  # wide enough for the edges of a page, a split and top-k
_SIZES = {
    "index_topk": 96,
    "num_draft_tokens": 4,
    "max_context_len": 256,
    "flashmla_num_sm_parts": 6,
    "paged_mqa_num_sms": 7,
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    default = "cuda" if torch.cuda.is_available() else "cpu"
    parser.epilog = "example: python -m nsa_core audit --strategy copy --strategy shared --page-size 64 --steps 3"
    parser.add_argument("--device", default=default, help="where the captured sets live (default: %(default)s)")
    parser.add_argument("--strategy", action="append", help="audit this one only; may be given several times")
    parser.add_argument("--page-size", type=int, action="append", help="default: 1 and 64")
    parser.add_argument("--steps", type=int, action="append", help="draft steps; default: 1 and 3")


def main(args: argparse.Namespace) -> int:
    """Print one line per audit and its findings. 1: there were some; 2: a strategy asked for cannot run here.

    Raises ValueError, before the first audit, for a device, strategy, page size or step count that there is not.
    """
    device, configs = (
        _device(args.device),
        [NSAConfig(page_size=size, **_SIZES) for size in args.page_size or (1, 64)],
    )
    step_counts = args.steps or [1, 3]
    for steps in step_counts:
        require_int("steps", steps, 1)
    chosen = _chosen(args.strategy, device)
    lines, reports = [], []
    for name in (name for name, info in chosen.items() if info.available):
        for labels, report in _audits(name, device, configs, step_counts):
            lines.append((name, *labels, "clean" if report.ok else f"{len(report.findings)} findings"))
            reports += [] if report.ok else [f"\n{name}, {', '.join(labels)}\n{report}"]
    unable = _unable(chosen.values())
    print("\n".join(table(("strategy", "mode", "page size", "steps", "audit"), lines) + unable + reports))
    return 1 if reports else 2 if args.strategy and unable else 0


def _device(name: str) -> torch.device:
    try:
        tensor = torch.zeros(1, device=name)
        tensor.tolist()
        return tensor.device
    except (AssertionError, RuntimeError) as error:  # PyTorch built without that kind of device asserts
        raise ValueError(f"device {name!r} cannot be used here: {str(error).splitlines()[0]}") from error


def _chosen(names: list[str] | None, device: torch.device) -> dict[str, StrategyInfo]:
    known = strategies(device)
    for name in names or ():
        if name not in known:
            raise ValueError(f"strategy {name!r} is not known; choose one of {', '.join(known)}")
    return {name: known[name] for name in names or known}


def _unable(chosen: Iterable[StrategyInfo]) -> list[str]:
    """One line per reason, with the strategies that cannot run for it."""
    names: dict[str, list[str]] = {}
    for info in chosen:
        if not info.available:
            names.setdefault(info.reason, []).append(info.name)
    return [f"cannot run: {', '.join(of_reason)}: {reason}" for reason, of_reason in names.items()]


def _audits(
    strategy: str, device: torch.device, configs: list[NSAConfig], step_counts: list[int]
) -> Iterator[tuple[tuple[str, str, str], AuditReport]]:
    for config in configs:
        req_to_token = token_table(POOL, WIDTH, config.page_size, device)
        for mode in MODES:
            for steps in step_counts:
                report = audit_strategy(strategy, config, req_to_token, mode, steps, BATCH_SIZE)
                yield (mode.name, str(config.page_size), str(steps)), report
