"""The fused launch recorded once in a CUDA graph: a replay is one graph launch."""

import gc
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

import torch

from ..batch import INPUTS, Extent, ReplayBatch, places
from .base import NO_STEPS, Captured, ReplayReport
from .fused import Fused


class Graph(Fused):
    name = "graph"
    needs_cuda = True
    records_inputs = True

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
        # Other names of the same memory: the graph reads it whatever becomes of the tensor objects of the caller.
        self._recorded = tuple(tensor.detach() for tensor in self.inputs.read_in(captured.mode))
        self.require(self._recorded)
        self._recorded_places = places(self._recorded)
        self._graph = self._record(padding)
        self._report = ReplayReport(self.name, paths={"graph": 1})
        self._reports_copied = {n: self._report_of(n) for n in range(2, len(self._recorded) + 1)}

    def require(self, inputs: Sequence[torch.Tensor]) -> None:
        super().require(inputs)
        if len(inputs) > len(self._recorded):
            raise ValueError(
                "accept_length is given, but the recorded inputs have none: this graph gives every request "
                f"{self.captured.config.num_draft_tokens} rows (num_draft_tokens); leave it None, or capture into a "
                "new backend with inputs that have one"
            )

    def replay(self, batch: ReplayBatch, extent: Extent | None = None) -> ReplayReport:
        """One graph launch when the batch's tensors are the recorded ones; else they are copied in first."""
        return self.replay_of(batch)(batch)

    def replay_of(self, batch: ReplayBatch) -> Callable[[ReplayBatch], ReplayReport]:
        return self._replay_recorded if self.reads(batch) else self._replay_copied

    def _replay_recorded(self, batch: ReplayBatch) -> ReplayReport:
        self.torn = self.every_step
        self._graph.replay()
        self.torn = NO_STEPS
        return self._report

    def _replay_copied(self, batch: ReplayBatch) -> ReplayReport:
        inputs = batch.read_in(self.captured.mode)
        with torch.inference_mode():
            for dst, src in zip(self._recorded, inputs, strict=False):
                dst.copy_(src)
            for accept_length in self._recorded[len(inputs) :]:  # of a batch without one
                accept_length.fill_(self.captured.config.num_draft_tokens)
        self._replay_recorded(batch)
        return self._reports_copied[len(inputs)]

    def _report_of(self, copied: int) -> ReplayReport:
        filled = len(self._recorded) - copied
        paths = {"graph": 1, "copy_": copied} | ({"fill_": filled} if filled else {})
        return replace(self._report, paths=paths, inputs_copied=True)

    def reads(self, batch: ReplayBatch) -> bool:
        return places(batch.read_in(self.captured.mode)) == self._recorded_places

    def _record(self, padding: ReplayBatch) -> torch.cuda.CUDAGraph:
        self.launch(self._like(padding))  # compiles for the recorded dtypes without reading the caller's tensors
        device = self.captured.req_to_token.device
        torch.cuda.synchronize(device)
        # A stream of this device: PyTorch's own for recordings is that of the device it recorded on first.
        graph, stream = torch.cuda.CUDAGraph(), torch.cuda.Stream(device)
        with _no_garbage_collection(), torch.cuda.graph(graph, stream=stream):
            self.launch(self.inputs)
        return graph

    def _like(self, padding: ReplayBatch) -> ReplayBatch:
        """The padded batch in the dtypes of the recorded inputs."""
        dtypes = [tensor.dtype for tensor in self._recorded]
        inputs = padding.read_in(self.captured.mode)
        named = zip(INPUTS, inputs, dtypes, strict=False)
        return ReplayBatch(**{name: tensor.to(dtype) for name, tensor, dtype in named})


@contextmanager
def _no_garbage_collection() -> Iterator[None]:
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
    with torch.inference_mode(False):
        ones = torch.ones(c.bs, dtype=torch.int64, device=device)
        accepts = torch.ones(c.bs, dtype=torch.int32, device=device) if c.mode.is_draft_extend() else None
        return ReplayBatch(ones, torch.zeros_like(ones), accepts)
