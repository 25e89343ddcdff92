"""What bounds a replay from below here: the cheapest launches, a graph of one node, and the memory's bandwidth."""

from collections.abc import Callable, Iterator

import torch

from nsa_core import kernels

from .recording import Row
from .timer import Candidate

TINY_COPY, ONE_NODE_GRAPH = "4-byte copy_", "one-node CUDA graph"
COMPILED_LAUNCH, EMPTY_LAUNCH = "empty Triton launch, compiled", "empty Triton launch"  # past its look-up; ordinary
MIB = (1, 4, 16, 64, 256, 1024)  # caches hold the first three, and are faster than memory
SMALL_MIB = (32,)  # on a CPU: enough to pass its caches, quick enough for a laptop

# What a strategy asks of the host, as its report counts it, by the cheapest call that can do it.
_CALLS = {"copy_": TINY_COPY, "foreach_copy_": TINY_COPY, "launch": COMPILED_LAUNCH, "graph": ONE_NODE_GRAPH}
# What it moves at the least; whatever is not named here copies.
_MOVES = {"eager": "bytes_recompute", "fused": "bytes_generate", "graph": "bytes_generate"}
_MOVES |= dict.fromkeys(("shared", "shared+fused", "shared+graph"), "bytes_share")


def launches(device: torch.device) -> Iterator[Candidate]:
    """The floors of anything launch-bound, to be timed in turns with what they are compared to."""
    yield _tiny_copy(device)
    if device.type != "cuda":
        return
    yield _one_node_graph(device)
    if kernels.missing(device) is None:
        yield from _empty_launches(device)


def reference(device: torch.device) -> Callable[[], object]:
    """One small call of each cheap kind: what a slow moment slows, whatever is measured in it."""
    # whole candidates: the check of the graph's keeps the tensor that the graph writes
    small = [candidate for candidate in launches(device) if candidate.name != EMPTY_LAUNCH]
    return lambda: [candidate.call() for candidate in small]


def bandwidths(device: torch.device) -> Iterator[tuple[Candidate, int]]:
    """Copies and fills of device memory, and the bytes each reads plus writes."""
    for mib in MIB if device.type == "cuda" else SMALL_MIB:
        src = torch.randint(2**31 - 1, (mib * 2**18,), dtype=torch.int32, device=device)
        dst = torch.empty_like(src)
        yield copy_candidate(f"copy of {mib} MiB", dst, src), 2 * src.nbytes
        yield Candidate(f"fill of {mib} MiB", dst.zero_, None), dst.nbytes


def bound(row: Row, floors_us: dict[str, float], bytes_per_us: Callable[[float], float | None]) -> float | None:
    """Microseconds below which a strategy's replay cannot be: its calls at the price of the cheapest that can do
    them, or its bytes at the best rate of any copy or fill. None where neither is known.

    floors_us: loop times of `launches` by name, timed in turns with the replay. bytes_per_us: by the bytes moved.
    """
    asked = row.get("paths") or {}
    calls = [count * floors_us[_CALLS[call]] for call, count in asked.items() if _CALLS.get(call) in floors_us]
    moved = row.get(_MOVES.get(row["name"], "bytes_copy"))
    bounds = [sum(calls)] if calls else []
    rate = bytes_per_us(moved) if moved else None
    bounds += [moved / rate] if rate else []
    return max(bounds, default=None)


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


def _empty_launches(device: torch.device) -> Iterator[Candidate]:
    from nsa_core.kernels import empty

    where = torch.zeros(1, dtype=torch.int32, device=device)
    yield Candidate(COMPILED_LAUNCH, empty.compiled(where), None)
    yield Candidate(EMPTY_LAUNCH, lambda: empty.launch(where), None)
