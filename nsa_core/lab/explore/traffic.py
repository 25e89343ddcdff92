"""Recorded traffic as inputs: shrunk so that every cell can be seen, or in full size."""

from collections.abc import Iterator

from ..trace import Request, TraceEngine, TraceStep, requests
from .setup import Inputs, Setup

CONTEXT_SCALE, GENERATED_SCALE = 128, 32  # tokens that one token of the scale model stands for
SECONDS_PER_ITERATION = 2.0  # slow enough that requests overlap although they are short


def scale_model(setup: Setup, trace: str = "azure") -> Iterator[Inputs]:
    """The replays of `setup`'s mode in a scale model of a trace, whose requests fit the setup's narrow table."""
    shrunk = [
        Request(r.arrival_s, 1 + r.context_tokens // CONTEXT_SCALE, 1 + r.generated_tokens // GENERATED_SCALE)
        for r in requests(trace)
    ]
    engine = TraceEngine(
        shrunk,
        setup.config,
        max_batch=setup.bs,
        width=setup.width,
        lookahead=lookahead(setup),
        iteration_s=SECONDS_PER_ITERATION,
    )
    return (inputs_of(step, engine) for step in engine if step.mode is setup.mode.captured_as)


def full_size(setup: Setup, iteration: int, trace: str = "azure", iteration_s: float = 0.03) -> Inputs:
    """The replay of `setup`'s mode in one iteration of a trace, lengths as recorded."""
    engine = TraceEngine(
        trace,
        setup.config,
        max_batch=setup.bs,
        width=setup.width,
        lookahead=lookahead(setup),
        iteration_s=iteration_s,
    )
    for step in engine:
        if step.iteration >= iteration and step.mode is setup.mode.captured_as:
            return inputs_of(step, engine)
    raise ValueError(f"iteration is {iteration}, but the trace {trace!r} ended before it; choose a smaller one")


def lookahead(setup: Setup) -> int:
    """Slots an iteration may need beyond the lengths it starts from."""
    return setup.draft_tokens + setup.step_offset * setup.steps


def inputs_of(step: TraceStep, engine: TraceEngine) -> Inputs:
    """What a trace step hands to a replay, with the table as it is now."""
    batch = step.batch
    accepts = () if batch.accept_length is None else tuple(batch.accept_length.tolist())
    rows = tuple(batch.req_pool_indices.tolist())
    return Inputs(tuple(batch.seq_lens.tolist()), accepts, rows, engine.req_to_token.clone())
