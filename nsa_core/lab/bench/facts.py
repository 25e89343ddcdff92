"""What the record claims without a clock: how many copies, what the device makes of them, whether steps are equal."""

import inspect
from collections.abc import Iterator
from pathlib import Path

import torch

import nsa_core as nsa
from nsa_core.strategies import REGISTRY

from .cases import MODES, BenchCase, CaseInputs, build
from .device import Cuda, Host
from .parts import plan_of_one_step
from .recording import Row

_PROFILED = 3


def plan(case: BenchCase, inputs: CaseInputs) -> Row:
    """One step's copies: how many, how many contiguous on both sides, and the bytes of each kind."""
    pairs = plan_of_one_step(case, inputs).values()
    flat = [src for dst, src in pairs if dst.is_contiguous() and src.is_contiguous()]
    return {
        "name": "copies of 1 step",
        "copies": len(pairs),
        "contiguous_copies": len(flat),
        "copied_bytes": sum(_bytes(src) for _, src in pairs),
        "contiguous_bytes": sum(_bytes(src) for src in flat),
    }


def rows(device: torch.device, observer: Host | Cuda) -> Iterator[Row]:
    """Every fact of this machine."""
    yield from _equal_steps(device)
    yield from _source_lines()
    yield _custom_object(device)
    for case in _copied_cases():
        yield from _copy_kinds(case, device, observer)


def _equal_steps(device: torch.device) -> Iterator[Row]:
    """Does `eager`, which computes every step, hold the same in every step, and the same as `copy`?"""
    for mode in MODES:
        case = BenchCase(f"equal-steps-{mode.value}", mode, width=8192)
        inputs = build(case, device)
        first, *others = _replayed(case, inputs, "eager") + _replayed(case, inputs, "copy")
        same = all(torch.equal(first[name], other[name]) for other in others for name in first)
        yield {
            "kind": "fact",
            "name": "steps are equal",
            "mode": mode.value,
            "bs": case.bs,
            "steps": case.steps,
            "value": same,
            "cells": sum(t.numel() for t in first.values()) * len(others),
        }


def _replayed(case: BenchCase, inputs: CaseInputs, strategy: str) -> list[dict[str, torch.Tensor]]:
    backend = nsa.MultiStepBackend(case.config, inputs.req_to_token, case.steps, strategy=strategy)
    sets = backend.capture(case.bs, case.mode)
    backend.replay(inputs.batch, case.mode)
    return [captured.tensors() for captured in sets]


def _source_lines() -> Iterator[Row]:
    """Lines of each strategy's own file and of the kernel modules it names."""
    kernel_files = sorted(Path(nsa.__file__).parent.joinpath("kernels").glob("[!_]*.py"))
    for name, cls in REGISTRY.items():
        text = inspect.getsource(inspect.getmodule(cls))
        kernels = [kernel for kernel in kernel_files if f"import {kernel.stem}" in text]
        lines = len(text.splitlines()) + sum(len(kernel.read_text().splitlines()) for kernel in kernels)
        yield {"kind": "fact", "name": "source lines", "strategy": name, "value": lines}


def _custom_object(device: torch.device) -> Row:
    """What asking FlashMLA's metadata the question of the record's kernel answers."""
    schedule = nsa.schedule_flashmla(torch.ones(1, dtype=torch.int32, device=device), 1, 1)
    try:
        answer = str(schedule.is_contiguous())
    except AttributeError as error:
        answer = str(error)
    return {"kind": "fact", "name": "FlashMLA metadata.is_contiguous()", "value": answer}


def _copied_cases() -> list[BenchCase]:
    made = [BenchCase(f"copy-kinds-{mode.value}", mode, steps=1, width=8192, flashmla="dense") for mode in MODES]
    return [*made, BenchCase("copy-kinds-full-width", steps=1, width=4096)]


def _copy_kinds(case: BenchCase, device: torch.device, observer: Host | Cuda) -> Iterator[Row]:
    """Which operation of the device each `.copy_()` of a step becomes; None where there is no device to watch."""
    named = plan_of_one_step(case, build(case, device))
    profiles = observer.profile([lambda d=dst, s=src: d.copy_(s) for dst, src in named.values()], _PROFILED)
    for at, (field, (dst, src)) in enumerate(named.items()):
        operations = profiles[at][0] if profiles else []
        yield {
            "kind": "copy",
            "name": field,
            "of": case.name,
            "mode": case.mode.value,
            "shape": list(src.shape),
            "contiguous": dst.is_contiguous() and src.is_contiguous(),
            "bytes": _bytes(src),
            "operation": "+".join(op.kind for op in operations) or None,
            "operation_name": "+".join(op.name for op in operations)[:200] or None,
            "device_us": sum(op.us for op in operations) if operations else None,
        }


def _bytes(tensor: torch.Tensor) -> int:
    return tensor.numel() * tensor.element_size()
