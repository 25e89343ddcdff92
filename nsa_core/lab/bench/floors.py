"""What nothing can be faster than here: a launch, a tiny copy, a graph of one node, and the memory's bandwidth."""

from collections.abc import Iterator

import torch

from nsa_core import kernels

from .timer import Candidate

EMPTY_LAUNCH, TINY_COPY, ONE_NODE_GRAPH = "empty Triton launch", "4-byte copy_", "one-node CUDA graph"
COPY_MIB = (32, 256, 1024)
SMALL_COPY_MIB = (32,)  # on a CPU: enough to pass its caches, quick enough for a laptop


def launches(device: torch.device) -> Iterator[Candidate]:
    """The floors of anything launch-bound, to be timed in turns with what they are compared to."""
    yield _tiny_copy(device)
    if device.type != "cuda":
        return
    yield _one_node_graph(device)
    if kernels.missing(device) is None:
        from nsa_core.kernels import empty

        where = torch.zeros(1, dtype=torch.int32, device=device)
        yield Candidate(EMPTY_LAUNCH, lambda: empty.launch(where), None)


def bandwidths(device: torch.device) -> Iterator[tuple[Candidate, int]]:
    """Large device-to-device copies, and the bytes each reads plus writes."""
    for mib in COPY_MIB if device.type == "cuda" else SMALL_COPY_MIB:
        src = torch.randint(2**31 - 1, (mib * 2**18,), dtype=torch.int32, device=device)
        dst = torch.empty_like(src)
        yield copy_candidate(f"copy of {mib} MiB", dst, src), 2 * src.numel() * src.element_size()


def copy_candidate(name: str, dst: torch.Tensor, src: torch.Tensor) -> Candidate:
    """One `.copy_()`, checked."""

    def check() -> list[str]:
        dst.fill_(-7)
        dst.copy_(src)
        return [] if torch.equal(dst, src) else ["destination differs from source"]

    return Candidate(name, lambda: dst.copy_(src), check)


def _tiny_copy(device: torch.device) -> Candidate:
    src, dst = torch.ones(1, dtype=torch.int32, device=device), torch.zeros(1, dtype=torch.int32, device=device)
    return copy_candidate(TINY_COPY, dst, src)


def _one_node_graph(device: torch.device) -> Candidate:
    counter, graph = torch.zeros(1, dtype=torch.int32, device=device), torch.cuda.CUDAGraph()
    counter.add_(1)  # compiled and loaded before the capture
    torch.cuda.synchronize(device)
    with torch.cuda.graph(graph):
        counter.add_(1)

    def check() -> list[str]:
        before = int(counter)
        graph.replay()
        after = int(counter)
        return [] if after == before + 1 else [f"the graph's counter went from {before} to {after}"]

    return Candidate(ONE_NODE_GRAPH, graph.replay, check)
