"""python -m nsa_core audit: this package's strategies, or with --release a release of SGLang."""

import argparse
import contextlib
import io
import os
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from types import FrameType

import torch

from nsa_core import ForwardMode, NSAConfig, ReplayBatch, audit
from nsa_core.audit import command as own
from nsa_core.audit.own import token_table
from nsa_core.audit.report import AuditReport
from nsa_core.config import require_int

from ..device import device_named
from .engine import LEFT_OUT, Engine, engine_of
from .fetch import fetch
from .standins import Loaded, StandInUsed, load
from .table import EXTEND, LICENCE, MODES, RELEASES, Release, release_named

_SIZES = {"index_topk": 96, "num_draft_tokens": 4, "max_context_len": own.WIDTH}
_STEPS, _PAGE_SIZE = 4, 64


def add_arguments(parser: argparse.ArgumentParser) -> None:
    own.add_arguments(parser)
    group = parser.add_argument_group("a release of SGLang instead, fetched with pip on first use")
    group.add_argument("--release", metavar="sglang==VERSION", help=f"one of {', '.join(RELEASES)}")
    modes = [mode.value for mode in MODES]
    group.add_argument("--mode", action="append", choices=modes, help="default: every mode that runs here")
    group.add_argument("--flag", action="append", metavar="NAME=VALUE", help="an environment variable it reads")


def main(args: argparse.Namespace) -> int:
    """Exit status 1 when there are findings. ValueError or RuntimeError, in one line, for what cannot be audited."""
    if args.release is None:
        if args.mode or args.flag:
            raise ValueError("--mode and --flag are for a release; name one with --release")
        return own.main(args)
    release, device, modes, all_steps, page_size = _chosen(args)
    loaded = loaded_with(release, device, args.flag or ())
    print("\n".join(about(release, device, args.flag)), flush=True)
    table = token_table(own.POOL, own.WIDTH, page_size, device).contiguous()  # as an engine allocates it
    config = NSAConfig(page_size=page_size, **_SIZES)
    engines = ((engine_of(loaded, config, table, steps), mode) for mode in modes for steps in all_steps)
    reports = [_print_audit(engine, loaded.folder, mode) for engine, mode in engines]
    return 0 if all(report.ok for report in reports) else 1


def _chosen(args: argparse.Namespace) -> tuple[Release, torch.device, list[ForwardMode], list[int], int]:
    release, device = release_named(args.release), device_named(args.device)
    if device.type not in ("cpu", "cuda"):
        raise ValueError(f"device {args.device!r}: a release runs on cpu or cuda")
    if args.strategy:
        raise ValueError(f"--strategy is for this package's own, but --release is {release.name}; leave out one")
    sizes, all_steps = args.page_size or [_PAGE_SIZE], args.steps or [_STEPS]
    for steps in all_steps:
        require_int("steps", steps, 1)
    if len(sizes) > 1:
        raise ValueError(f"--page-size is given {len(sizes)} times; a release is audited at one")
    able = [mode for mode in MODES if device.type == "cuda" or mode in release.cpu_modes]
    modes = [ForwardMode(name) for name in args.mode or ()] or able
    for mode in set(modes) - set(able):
        names = ", ".join(mode.value for mode in able)
        raise ValueError(f"{release.name} refreshes {mode.value} on CUDA only; on a CPU it runs {names}")
    return release, device, modes, all_steps, sizes[0]


def loaded_with(release: Release, device: torch.device, flags: Iterable[str]) -> Loaded:
    """Fetch and load a release, its flags ("NAME=VALUE") set before."""
    for flag in flags:
        name, _, value = flag.partition("=")
        if name not in release.flags or value not in ("0", "1"):
            known = " or ".join(f"{flag}=0" for flag in release.flags) or "none"
            raise ValueError(f"--flag {flag}: {release.name} chooses its refresh by {known}")
        os.environ[name] = value
    return load(release, fetch(release), device)


def about(release: Release, device: torch.device, flags: Iterable[str] | None) -> list[str]:
    """What a report has to say before its findings: which code ran, under which conditions, what was left out."""
    asked = " ".join(flags or ["flags as shipped"])
    lines = [
        f"{release.name}: {release.design}",
        f"{release.wheel}, sha256 {release.sha256}, licence {LICENCE}",
        f"torch {torch.__version__}, {_device_name(device)}, {asked}; left out: {LEFT_OUT}",
    ]
    if device.type == "cuda":
        return lines
    schedule = (
        "the release is told that it runs on CUDA, and DeepGEMM's get_paged_mqa_logits_metadata is "
        "nsa_core.schedules.schedule_paged_mqa"
        if release.schedule and release.told_cuda
        else "the release makes no paged-MQA schedule"
    )
    kernels = "; what imports a CUDA kernel raises ImportError" if release.kernel else ""
    return [*lines, f"no GPU: {schedule}{kernels}"]


def _device_name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type


def audit_of(engine: Engine, mode: ForwardMode) -> AuditReport:
    """Capture and audit one mode, with batches the release's engine forms, under the contract its refresh keeps."""
    release = engine.release
    return audit(
        engine.refresh,
        engine.capture(own.BATCH_SIZE, mode),
        engine.config,
        engine.req_to_token,
        mode,
        contract="exact" if release.exact else "live prefix",
        fixed_width=release.fixed_width and mode is EXTEND,
        engine_batches=True,
    )


def _print_audit(engine: Engine, folder: Path, mode: ForwardMode) -> AuditReport:
    with quiet() as said:
        report = audit_of(engine, mode)
        ones = torch.ones(own.BATCH_SIZE, dtype=torch.int64, device=engine.req_to_token.device)
        ran = functions_run(folder, lambda: engine.refresh(ReplayBatch(ones, ones, ones)))
    code = engine.entry.__func__.__code__
    where = f"{Path(code.co_filename).relative_to(folder)}:{code.co_firstlineno}"
    config, decode = engine.config, mode.is_decode_or_idle()
    spec = f" (speculative_num_steps {engine.draft.speculative_num_steps})" if decode else ", each by itself"
    print(
        f"\n{mode.name}, {len(engine.backends)} backends{spec}, {own.BATCH_SIZE} requests, page size "
        f"{config.page_size}, table width {own.WIDTH}, top-k {config.index_topk}, {config.num_draft_tokens} drafts\n"
        f"refreshed by {code.co_qualname}, {where}\nthrough {', '.join(ran)}\n{report}"
    )
    for line, times in Counter(said.getvalue().splitlines()).items():
        print(f"the release printed, {times} times: {line}")
    return report


@contextlib.contextmanager
def quiet() -> Iterator[io.StringIO]:
    """Collects what a release prints. That a stand-in was used becomes a RuntimeError once the release is left."""
    said = io.StringIO()
    try:
        with contextlib.redirect_stdout(said):
            yield said
    except StandInUsed as used:
        raise RuntimeError(str(used)) from used


def functions_run(folder: Path, call: Callable[[], object]) -> list[str]:
    """The release's functions that `call` goes through, in order."""
    names: dict[str, None] = {}

    def note(frame: FrameType, event: str, argument: object) -> None:
        code = frame.f_code
        if event == "call" and code.co_filename.startswith(str(folder)) and not code.co_name.startswith("<"):
            names[code.co_name] = None

    sys.setprofile(note)
    try:
        call()
    finally:
        sys.setprofile(None)
    return list(names)
