"""python -m nsa_core bench: this package's strategies; with --release those on a release's buffers, beside it."""

import argparse
import subprocess
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial

import torch

from nsa_core import MultiStepBackend, NSAConfig
from nsa_core.audit.captured_set import sms_of_schedule
from nsa_core.config import TABLES
from nsa_core.strategies import REGISTRY

from ..bench import command as own
from ..bench.cases import BenchCase, CaseInputs, build, select
from ..bench.recording import Row
from ..bench.report import launch_floor
from ..bench.run import Bench, Labelled, describe
from ..bench.timer import Candidate
from ..bench.verify import Gate
from ..device import device_named
from .audit import about, loaded_with, quiet
from .engine import Engine, engine_of
from .standins import Loaded
from .table import EXTEND, RELEASES, Release, release_named

_CASES = ("record-4", "record-8", "decode-bs-1", "bytes-64k-steps-8-decode")
_STEADY = 1.25  # between the quartiles of a launch floor; a host clock has phases 1.7 times apart
_PASSED_ON = ("case", "strategy", "device", "budget", "record")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    own.add_arguments(parser)
    group = parser.add_argument_group("on the buffers of releases of SGLang, fetched with pip on first use")
    known = f"a process for each; of {', '.join(RELEASES)}"
    group.add_argument("--release", metavar="sglang==VERSION[,..]", help=known)
    group.add_argument("--flag", action="append", metavar="NAME=VALUE", help="an environment variable it reads")


def main(args: argparse.Namespace) -> int:
    """Exit status 1 when a row failed, in whichever process."""
    if args.release is None:
        if args.flag:
            raise ValueError("--flag is for a release; name one with --release")
        return own.main(args)
    if args.evidence:
        raise ValueError("--evidence holds this package's strategies; record a release with --record")
    device, releases = device_named(args.device), [release_named(name) for name in args.release.split(",")]
    default = _CASES[:1] if args.quick or device.type == "cpu" else _CASES
    cases = select(default if args.case is None else args.case.split(","))
    for case in cases:
        _require_drivable(case, releases, device)
    if len(releases) > 1:
        return max(subprocess.run(_command(args, release), check=False).returncode for release in releases)
    loaded = loaded_with(releases[0], device, args.flag or ())
    print("\n".join(about(releases[0], device, args.flag)), flush=True)
    return own.measure(args, device, cases, partial(ReleaseBench, loaded, " ".join(args.flag or ())))


def _require_drivable(case: BenchCase, releases: Iterable[Release], device: torch.device) -> None:
    if (case.flashmla, case.step_offset, case.tables, case.mirrors) != ("none", 0, TABLES, True):
        raise ValueError(
            f"case {case.name!r} has a condition that no release is driven under; its metadata is decode's"
        )
    for release in releases:
        if device.type == "cpu" and case.mode not in release.cpu_modes:
            raise ValueError(f"case {case.name!r}: {release.name} refreshes {case.mode.value} on CUDA only")


def _command(args: argparse.Namespace, release: Release) -> list[str]:
    """The same for one release, in a process of its own."""
    command = [sys.executable, "-m", "nsa_core", "bench", "--release", release.name, *["--quick"] * args.quick]
    command += ["--anyway"] * args.anyway
    for option in _PASSED_ON:
        value = getattr(args, option)
        command += [] if value is None else [f"--{option}", str(value)]
    return command + [word for flag in args.flag or () for word in ("--flag", flag)]


@dataclass(frozen=True)
class ReleaseCase(BenchCase):
    """A case on a release's captured sets. num_sms: of their paged-MQA schedule; None where they have none."""

    num_sms: int | None = None

    @property
    def config(self) -> NSAConfig:
        return replace(super().config, paged_mqa_num_sms=self.num_sms)


class ReleaseBench(Bench):
    """Times a release's refresh and strategies adopted onto its captured sets in turns, in one process."""

    def __init__(self, loaded: Loaded, flags: str, *arguments: object, **options: object) -> None:
        super().__init__(*arguments, **options)
        self.loaded, self.flags, self.notes = loaded, flags, []

    def case(self, case: BenchCase) -> None:
        name = f"{case.name} on {self.loaded.release.name}"
        with self._noting({"case": name}), quiet():
            inputs = _formed(case, build(case, self.device), self.loaded.release)
            engine = engine_of(self.loaded, case.config, inputs.req_to_token, case.steps)
            sets = engine.capture(inputs.batch.bs, case.mode)
            case = ReleaseCase(**vars(case) | {"name": name, "num_sms": sms_of_schedule(sets[0])})
            self._time(self._about(case, inputs), self._beside(case, inputs, engine, sets), self._timer(case.weight))
        while self.notes:
            print(self.notes.pop(0), flush=True)
        self._free()

    def _about(self, case: BenchCase, inputs: CaseInputs) -> Row:
        release = self.loaded.release
        of_release = {"release": release.name, "wheel_sha256": release.sha256, "flags": self.flags}
        return describe(case, inputs) | of_release

    def _beside(
        self, case: BenchCase, inputs: CaseInputs, engine: Engine, sets: Sequence[object]
    ) -> Iterator[Labelled]:
        gate, release = Gate(case, inputs), self.loaded.release
        label = {"kind": "release", "name": release.name, "contract": "exact" if release.exact else "live prefix"}
        yield label, partial(_released, engine, sets, gate, label)
        for name, info in self.strategies.items():
            label = {"kind": "strategy", "name": name, "strategy": name, "contract": info.contract}
            yield label, partial(_adopted, case, inputs, sets, gate, label)
        yield from self._floors()

    def _emit(self, rows: Iterable[Row]) -> None:
        rows = list(rows)
        floor = launch_floor(rows, rows[0]["case"]) if rows else None
        if floor is not None:
            steady = floor["loop_us_q3"] <= _STEADY * floor["loop_us_q1"]
            rows = [row | {"floor_us": floor["loop_us"], "floor_steady": steady} for row in rows]
            moved = f"{floor['loop_us_q1']:g}..{floor['loop_us_q3']:g} us"
            self.notes += (
                [] if steady else [f"{floor['case']}: the floor moved, {moved}; compare within this run only"]
            )
        wrong = [(row, fault) for row in rows for fault in row.get("wrong", ())]
        self.notes += [f"{row['case']}: {row['name']} leaves {fault}" for row, fault in wrong]
        super()._emit(rows)


def _formed(case: BenchCase, inputs: CaseInputs, release: Release) -> CaseInputs:
    """The inputs as the release's engine forms them."""
    if case.mode is not EXTEND or not release.fixed_width:
        return inputs
    batch = replace(inputs.batch, accept_length=None, accept_length_cpu=None)
    return replace(inputs, batch=batch, accepts=(case.config.num_draft_tokens,) * case.bs)


def _released(engine: Engine, sets: Sequence[object], gate: Gate, label: Row) -> Candidate:
    """The release's own refresh. What it leaves wrong is a column of its row, not a reason not to time it."""
    call = engine.refresh_of(gate.inputs.batch)

    def check() -> list[str]:
        label["wrong"] = gate.differences(sets, label["contract"], call)
        return []

    return Candidate(label["name"], call, check)


def _adopted(case: BenchCase, inputs: CaseInputs, sets: Sequence[object], gate: Gate, label: Row) -> Candidate:
    """A strategy's replay on the release's own sets, of a batch in the tensors it records where it records some."""
    backend = MultiStepBackend(case.config, inputs.req_to_token, case.steps, strategy=label["name"])
    batch, strategy = inputs.batch, REGISTRY[label["name"]]
    if strategy.capture_safe:  # reads nothing on the host: mirrors would only be checked
        batch = replace(batch, seq_lens_cpu=None, accept_length_cpu=None)
    backend.adopt(case.bs, case.mode, sets, inputs=batch if strategy.records_inputs else None)
    call = partial(backend.replay, batch, case.mode)
    return Candidate(label["name"], call, lambda: gate.replayed(backend, call, label["contract"]))
