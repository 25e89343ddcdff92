"""The reverted half of the record: Triton kernels that execute copies. Kept as a reference.

Everything is int32 by decision: every captured field is. Offsets are 64-bit.
"""

import triton
import triton.language as tl

BLOCK = 1024  # elements a program copies, as in the record
MOST_COPIES = 8  # pointer arguments of the unified kernel

_POINTERS = [f"{end}{i}" for end in ("src", "dst") for i in range(MOST_COPIES)]
_SIZES = [f"n{i}" for i in range(MOST_COPIES)]


@triton.jit
def _move(src, dst, n, BLOCK: tl.constexpr):
    first = tl.program_id(0).to(tl.int64) * BLOCK
    if first < n:
        at = first + tl.arange(0, BLOCK)
        tl.store(dst + at, tl.load(src + at, mask=at < n), mask=at < n)


# Unspecialised: whether a pointer or size happens to be divisible by 16 must not compile a new kernel.
@triton.jit(do_not_specialize=["n"], do_not_specialize_on_alignment=["src", "dst"])
def copy_one(src, dst, n, BLOCK: tl.constexpr):
    """One contiguous copy. Grid: (blocks,)."""
    _move(src, dst, n, BLOCK)


@triton.jit(do_not_specialize=_SIZES, do_not_specialize_on_alignment=_POINTERS)
def copy_up_to_8(
    src0,
    src1,
    src2,
    src3,
    src4,
    src5,
    src6,
    src7,
    dst0,
    dst1,
    dst2,
    dst3,
    dst4,
    dst5,
    dst6,
    dst7,
    n0,
    n1,
    n2,
    n3,
    n4,
    n5,
    n6,
    n7,
    BLOCK: tl.constexpr,
):
    """Up to eight contiguous copies. Grid: (blocks of the longest, copies); past its end a copy does nothing."""
    copy = tl.program_id(1)
    if copy == 0:
        _move(src0, dst0, n0, BLOCK)
    elif copy == 1:
        _move(src1, dst1, n1, BLOCK)
    elif copy == 2:
        _move(src2, dst2, n2, BLOCK)
    elif copy == 3:
        _move(src3, dst3, n3, BLOCK)
    elif copy == 4:
        _move(src4, dst4, n4, BLOCK)
    elif copy == 5:
        _move(src5, dst5, n5, BLOCK)
    elif copy == 6:
        _move(src6, dst6, n6, BLOCK)
    else:
        _move(src7, dst7, n7, BLOCK)


@triton.jit
def copy_described(table, BLOCK: tl.constexpr):
    """Any number of 2-D copies. Grid: (blocks of the largest, copies).

    table: int64 [copies, 6], a row per copy: source address, destination address, elements,
    columns, elements between source rows, elements between destination rows.
    """
    row = table + tl.program_id(1) * 6
    src = tl.load(row).to(tl.pointer_type(tl.int32))
    dst = tl.load(row + 1).to(tl.pointer_type(tl.int32))
    n, columns = tl.load(row + 2), tl.load(row + 3)
    src_stride, dst_stride = tl.load(row + 4), tl.load(row + 5)
    first = tl.program_id(0).to(tl.int64) * BLOCK
    if first < n:
        at = first + tl.arange(0, BLOCK)
        r, c = at // columns, at % columns
        value = tl.load(src + r * src_stride + c, mask=at < n)
        tl.store(dst + r * dst_stride + c, value, mask=at < n)
