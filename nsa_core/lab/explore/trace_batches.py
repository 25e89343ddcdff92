"""Recorded requests as batches: shrunk so that every cell can be seen, or in full size."""

from collections.abc import Iterator

from ..trace import Request, TraceEngine, requests
from .setup import Batch, Setup

CONTEXT_SCALE, GENERATED_SCALE = 128, 32  # tokens that one token of the scale model stands for
SECONDS_PER_ITERATION = 2.0  # slow enough that requests overlap although they are short


def scale_model(setup: Setup, trace: str = "azure") -> Iterator[Batch]:
    """The replays of `setup`'s mode in a scale model of a trace, whose requests fit the setup's narrow table."""
    shrunk = [
        Request(r.arrival_s, 1 + r.context_tokens // CONTEXT_SCALE, 1 + r.generated_tokens // GENERATED_SCALE)
        for r in requests(trace)
    ]
    return _batches(setup, shrunk, SECONDS_PER_ITERATION)


def full_size(setup: Setup, iteration: int, trace: str = "azure", iteration_s: float = 0.03) -> Batch:
    """The replay of `setup`'s mode in one iteration of a trace, lengths as recorded."""
    batch = next(_batches(setup, trace, iteration_s, iteration), None)
    if batch is None:
        raise ValueError(f"iteration is {iteration}, but the trace {trace!r} ended before it; choose a smaller one")
    return batch


def _batches(setup: Setup, trace: str | list[Request], iteration_s: float, first: int = 0) -> Iterator[Batch]:
    """Every replay of `setup`'s mode from iteration `first` on, with the table of that moment."""
    lookahead = setup.draft_tokens + setup.step_offset * setup.steps  # slots beyond the lengths it starts from
    sizes = {"max_batch": setup.bs, "width": setup.width, "lookahead": lookahead}
    engine = TraceEngine(trace, setup.config, iteration_s=iteration_s, **sizes)
    for step in engine:
        if step.iteration >= first and step.mode is setup.mode.captured_as:
            batch = step.batch
            accepts = () if batch.accept_length is None else tuple(batch.accept_length.tolist())
            rows = tuple(batch.req_pool_indices.tolist())
            names = tuple(f"{request}" for request in step.requests)
            yield Batch(tuple(batch.seq_lens.tolist()), accepts, rows, engine.req_to_token.clone(), names)
