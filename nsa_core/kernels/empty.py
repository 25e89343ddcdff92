"""A kernel that does nothing: what a Triton launch costs before it computes anything."""

import triton


@triton.jit
def nothing(where):
    pass


def launch(where) -> None:
    """One launch: one pointer argument, one program, one warp."""
    nothing[(1,)](where, num_warps=1)
