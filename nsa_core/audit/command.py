"""python -m nsa_core audit: every strategy that can run here, in each mode, at several page sizes and step counts."""

import argparse
from collections.abc import Iterator

import torch

from ..config import NSAConfig
from ..strategies import strategies
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
    parser.add_argument("--device", default=default, help="where the captured sets live (default: %(default)s)")
    parser.add_argument("--strategy", action="append", help="audit this one only; may be given several times")
    parser.add_argument("--page-size", type=int, action="append", help="default: 1 and 64")
    parser.add_argument("--steps", type=int, action="append", help="draft steps; default: 1 and 3")


def main(args: argparse.Namespace) -> int:
    """Print one line per audit and its findings. 1: there were some; 2: a strategy asked for cannot run here."""
    device, lines, reports = torch.device(args.device), [], []
    for name, unable in _chosen(args.strategy, device):
        if unable is not None:
            lines.append((name, "-", "-", "-", unable))
            continue
        for labels, report in _audits(name, device, args.page_size or [1, 64], args.steps or [1, 3]):
            lines.append((name, *labels, "clean" if report.ok else f"{len(report.findings)} findings"))
            reports += [] if report.ok else [f"\n{name}, {', '.join(labels)}\n{report}"]
    print("\n".join(table(("strategy", "mode", "page size", "steps", "audit"), lines) + reports))
    return 1 if reports else 2 if args.strategy and any(mode == "-" for _, mode, *_ in lines) else 0


def _chosen(names: list[str] | None, device: torch.device) -> Iterator[tuple[str, str | None]]:
    """Each strategy and why it cannot run, None where it can."""
    known = strategies(device)
    for name in names or known:
        if name not in known:
            yield name, f"not known; there are {', '.join(known)}"
        else:
            yield name, None if known[name].available else f"cannot run: {known[name].reason}"


def _audits(
    strategy: str, device: torch.device, page_sizes: list[int], step_counts: list[int]
) -> Iterator[tuple[tuple[str, str, str], AuditReport]]:
    for page_size in page_sizes:
        config = NSAConfig(page_size=page_size, **_SIZES)
        req_to_token = token_table(POOL, WIDTH, page_size, device)
        for mode in MODES:
            for steps in step_counts:
                report = audit_strategy(strategy, config, req_to_token, mode, steps, BATCH_SIZE)
                yield (mode.name, str(page_size), str(steps)), report
