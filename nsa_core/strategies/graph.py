"""The fused launch recorded once in a CUDA graph: a replay is one graph launch."""

import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

import torch

from ..batch import ReplayBatch
from .base import NO_STEPS, Captured, ReplayReport
from .fused import Fused


class Graph(Fused):
    name = "graph"
    needs = "Triton and an NVIDIA GPU"

    @classmethod
    def missing(cls, device: torch.device) -> str | None:
        if device.type != "cuda":
            return (
                f"a CUDA graph needs an NVIDIA GPU; put req_to_token on one (it is on {device.type}), or use 'fused'"
            )
        return super().missing(device)

    def __init__(self, captured: Captured) -> None:
        """Compiles and records. The sets hold a padded batch afterwards, as after any graph capture."""
        super().__init__(captured)
        padding = _padding(captured)
        self.inputs = padding if captured.inputs is None else captured.inputs
        self._graph = self._record(padding)
        self._report = ReplayReport(self.name, paths={"graph": 1})
        inputs = 3 if captured.mode.is_draft_extend() else 2
        self._report_copied = replace(self._report, paths={"graph": 1, "copy_": inputs}, inputs_copied=True)

    def replay(self, batch: ReplayBatch) -> ReplayReport:
        """One graph launch when the batch's tensors are the recorded ones; else they are copied in first."""
        recorded = self.reads(batch)
        if not recorded:
            for dst, src in zip(self._read(self.inputs), self._read(batch), strict=True):
                dst.copy_(src)
        self.torn = range(len(self.captured.sets))
        self._graph.replay()
        self.torn = NO_STEPS
        return self._report if recorded else self._report_copied

    def repeat(self, batch: ReplayBatch) -> Callable[[], object] | None:
        return self._graph.replay if self.reads(batch) else None

    def reads(self, batch: ReplayBatch) -> bool:
        """Whether the recorded launch reads this very batch's tensors."""
        return self.addresses(batch) == self.addresses(self.inputs)

    def _record(self, padding: ReplayBatch) -> torch.cuda.CUDAGraph:
        self.launch(self._like(padding))  # compiles for the recorded dtypes without reading the caller's tensors
        torch.cuda.synchronize(self.captured.req_to_token.device)
        graph = torch.cuda.CUDAGraph()
        with _no_garbage(), torch.cuda.graph(graph):
            self.launch(self.inputs)
        return graph

    def _like(self, padding: ReplayBatch) -> ReplayBatch:
        """The padded batch in the dtypes of the recorded inputs."""
        names = ("seq_lens", "req_pool_indices", "accept_length")
        held = {name: (getattr(padding, name), getattr(self.inputs, name)) for name in names}
        return ReplayBatch(**{name: pad if pad is None else pad.to(own.dtype) for name, (pad, own) in held.items()})


@contextmanager
def _no_garbage() -> Iterator[None]:
    """A CUDA graph that the collector destroys while another is being recorded invalidates the recording."""
    enabled = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def _padding(c: Captured) -> ReplayBatch:
    """Static inputs: every request padded (length 1, pool row 0, accept length 1)."""
    device = c.req_to_token.device
    ones = torch.ones(c.bs, dtype=torch.int64, device=device)
    accepts = torch.ones(c.bs, dtype=torch.int32, device=device) if c.mode.is_draft_extend() else None
    return ReplayBatch(ones, torch.zeros_like(ones), accepts)
