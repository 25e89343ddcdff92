"""What a decode step feels of a refresh: its time with one before, inside or beside it, less its time alone."""

from collections.abc import Callable, Iterable, Sequence
from functools import partial

import torch

from nsa_core import ForwardMode, MultiStepBackend, ReplayBatch
from nsa_core.strategies import REGISTRY

from .recording import Row
from .stats import rounded, spread, spread_columns

BEFORE, INSIDE, FORKED = PLACES = ("before", "inside", "forked")
# The places a strategy's refresh can take, and which of `bytes_written` is its own. `graph` before a step is what
# `fused` is there: the same launch in a graph of its own. `copy` needs the host, so it stays outside of graphs.
STRATEGIES = {"fused": (PLACES, "generate"), "shared+fused": (PLACES, "share"), "copy": ((BEFORE,), "copy")}
NOISE = "noise floor"  # a second recording of the step alone, treated like a step with a refresh
ROUNDS, CALLS = 9, 200
ROWS, WIDTH = 32, 7168  # of a GEMM, [32, 7168] x [7168, 7168] in bf16: 103 MB of weights, 40 us on an H100
GEMMS_AHEAD = 2  # of the first reader of the metadata: what a forked refresh can hide beside


class DecodeStep:
    """A stand-in: GEMMs bound by their weights and, among them, a kernel that reads the metadata of `bs` requests.

    Each of its graphs runs the same kernels on the same memory, so that two of them differ by the refresh alone. They
    live as long as the step does, and are to be recorded while nothing collects garbage: a graph that is destroyed
    meanwhile invalidates the recording.
    """

    def __init__(self, device: torch.device, bs: int, gemms: int) -> None:
        def normal(rows: int) -> torch.Tensor:
            return torch.randn(rows, WIDTH, device=device, dtype=torch.bfloat16)

        self.weights = [normal(WIDTH).mul_(WIDTH**-0.5) for _ in range(gemms)]  # keeps activations near 1
        self.activations = [normal(ROWS) for _ in range(gemms + 1)]
        self.sums_read = torch.zeros(bs + 1, dtype=torch.int32, device=device)
        self._unrefreshed = torch.zeros_like(self.sums_read)
        self._main, self._side = torch.cuda.Stream(device), torch.cuda.Stream(device)

    def alone(self) -> Callable[[], object]:
        """Replays the step without a refresh."""
        return self._recorded(partial(self._run, self._unrefreshed)).replay

    def with_refresh(
        self, place: str, backend: MultiStepBackend, batch: ReplayBatch, mode: ForwardMode
    ) -> Callable[[], object]:
        """Replays the step with a refresh of captured sets in one of PLACES.

        before: in a graph of its own; for a strategy that needs the host, by its `replay`.
        forked: on a stream of its own from the step's begin on, joined before the metadata are read.
        """
        sums, refresh = last_sums(backend, batch, mode), partial(backend.refresh, batch, mode)
        if place == INSIDE:
            return self._recorded(partial(self._run, sums, first=refresh)).replay
        if place == FORKED:
            return self._recorded(partial(self._run, sums, beside=refresh)).replay
        in_a_graph = REGISTRY[backend.strategy].capture_safe
        before = self._recorded(refresh).replay if in_a_graph else partial(backend.replay, batch, mode)
        step = self._recorded(partial(self._run, sums)).replay
        return lambda: (before(), step())

    def _run(
        self, sums: torch.Tensor, first: Callable[[], None] | None = None, beside: Callable[[], None] | None = None
    ) -> None:
        if first:
            first()
        if beside:
            self._side.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(self._side):
                beside()
        self._multiply(range(GEMMS_AHEAD))
        if beside:
            torch.cuda.current_stream().wait_stream(self._side)
        torch.add(sums, 0, out=self.sums_read)
        self._multiply(range(GEMMS_AHEAD, len(self.weights)))

    def _multiply(self, which: Iterable[int]) -> None:
        for at in which:
            torch.mm(self.activations[at], self.weights[at], out=self.activations[at + 1])

    def _recorded(self, work: Callable[[], object]) -> torch.cuda.CUDAGraph:
        """A graph of `work`, which runs once before on the recording stream: cuBLAS and Triton get ready there."""
        self._main.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(self._main):
            work()
        torch.cuda.synchronize()
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, stream=self._main):
            work()
        return graph


def last_sums(backend: MultiStepBackend, batch: ReplayBatch, mode: ForwardMode) -> torch.Tensor:
    """What the step's reader reads: the summed lengths of the last draft step, which is refreshed last."""
    return backend.sets(batch.bs, mode)[-1].cu_seqlens_k


def require(device: torch.device, strategies: Iterable[str]) -> None:
    """RuntimeError without a GPU, ValueError where none of the strategies is measured beside a decode step."""
    if device.type != "cuda":
        raise RuntimeError(
            f"a refresh beside a decode step is timed in CUDA graphs; they need an NVIDIA GPU, the device is {device}"
        )
    if not STRATEGIES.keys() & set(strategies):
        raise ValueError(
            f"none of the strategies is measured beside a decode step; choose of {', '.join(STRATEGIES)}"
        )


def columns(pairs: Sequence[tuple[float, float]]) -> Row:
    """Rounds as columns: the step alone, and what its neighbour with a refresh took more, in us and in % of it."""
    exposed = [together - alone for together, alone in pairs]
    percent = [100 * (together - alone) / alone for together, alone in pairs]
    return {
        **spread_columns("decode_step_us", spread([alone for _, alone in pairs])),
        **spread_columns("exposed_us", spread(exposed)),
        "exposed_us_min": rounded(min(exposed)),
        "exposed_us_max": rounded(max(exposed)),
        **spread_columns("exposed_percent", spread(percent)),
    }
