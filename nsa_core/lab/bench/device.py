"""What the timer asks of a device: to finish its work, and to say which operations it ran."""

import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import repeat

import torch

_SEPARATOR = "spin_kernel"  # the kernel behind torch.cuda._sleep; no candidate launches it
_ATTEMPTS = 2


@dataclass(frozen=True, slots=True)
class Operation:
    """One thing the device did: a kernel by its name, or a memcpy or memset."""

    name: str
    us: float

    @property
    def kind(self) -> str:
        """ "memcpy", "memset" or "kernel", from the profiler's name."""
        return next((kind for kind in ("memcpy", "memset") if self.name.lower().startswith(kind)), "kernel")


class Host:
    """The CPU: a call's work is done when it returns, and there is no device time to report."""

    def drain(self) -> None:
        """Nothing to wait for."""

    def profile(self, calls: Sequence[Callable[[], object]], repeats: int) -> None:
        """Returns None: nothing was observed, which is not the same as zero operations."""


class Cuda:
    """One CUDA device, observed through torch.profiler."""

    def __init__(self, device: torch.device) -> None:
        self.device = device

    def drain(self) -> None:
        torch.cuda.synchronize(self.device)

    def elapsed_us(self, call: Callable[[], object], calls: int) -> float:
        """Microseconds per call between two events of the current stream, around `calls` back-to-back calls."""
        begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        self.drain()
        begin.record()
        for _ in repeat(None, calls):
            call()
        end.record()
        self.drain()
        return begin.elapsed_time(end) * 1e3 / calls

    def profile(self, calls: Sequence[Callable[[], object]], repeats: int) -> list[list[list[Operation]]] | None:
        """The device operations of each of `repeats` runs of each call.

        None, with a warning, when the profiler twice lost events: times are then unknown, not smaller.
        """
        for _ in range(_ATTEMPTS):
            runs = self._observe(calls, repeats)
            if len(runs) == len(calls) * repeats and all(runs):
                return [runs[at : at + repeats] for at in range(0, len(runs), repeats)]
        warnings.warn(
            f"the profiler saw {len(runs)} of {len(calls) * repeats} runs, {runs.count([])} of them empty; "
            "device times are left out",
            stacklevel=2,
        )
        return None

    def _observe(self, calls: Sequence[Callable[[], object]], repeats: int) -> list[list[Operation]]:
        activities = [torch.profiler.ProfilerActivity.CUDA]
        with torch.profiler.profile(activities=activities, acc_events=True) as profiler:  # one cycle; or it warns
            for call in calls:
                for _ in range(repeats):
                    torch.cuda._sleep(1)  # the separator; its event begins a run's list
                    call()
                    self.drain()
        return list(_split(profiler.events()))


def _split(events: Sequence) -> Iterator[list[Operation]]:
    """One list of operations per separator, in the order in which the device ran them."""
    on_device = [e for e in events if e.device_type == torch.autograd.DeviceType.CUDA]
    current = None
    for event in sorted(on_device, key=lambda e: e.time_range.start):
        if _SEPARATOR in event.name:
            if current is not None:
                yield current
            current = []
        elif current is not None:
            current.append(Operation(event.name, event.time_range.elapsed_us()))
    if current is not None:
        yield current


def observer(device: torch.device) -> Host | Cuda:
    """The observer of a torch device. ValueError for a kind of device that is neither CPU nor CUDA."""
    if device.type == "cpu":
        return Host()
    if device.type == "cuda":
        return Cuda(device)
    raise ValueError(f"device must be cpu or cuda, got {device}; the timer cannot wait for anything else")
