"""What an engine hands to a replay, and the one check made on it before the first write."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from . import show
from .config import ForwardMode, NSAConfig, require_int

_INTS = (torch.int32, torch.int64)
_CPU = torch.device("cpu")
_STRIDED, _PLAIN = torch.strided, (torch.Tensor, torch.nn.Parameter)  # looked up once: 60 ns of every check
_MOST_TOKENS = 2**31 - 1  # of a batch: `cu_seqlens_k` is int32


@dataclass(frozen=True, slots=True, repr=False)
class ReplayBatch:
    """One batch, as the engine's graph runner holds it.

    Draft extend has two forms. Ragged: `accept_length` says how many rows each request has, of lengths s-a+1 .. s.
    Fixed width: `accept_length` is None, and every request has d = `num_draft_tokens` rows, of lengths s-d+1 .. s, or
    0 where that would be less. In both, `seq_lens` counts these tokens already.

    seq_lens: int32/int64 [bs], tokens of each request, on the device of `req_to_token`.
    req_pool_indices: int32/int64 [bs], each request's row of `req_to_token`.
    accept_length: int32/int64 [bs], rows each request has in ragged draft extend; other modes do not read it.
    seq_lens_cpu: optional host mirror of `seq_lens`, int32/int64 [bs] on the CPU. Strategies that must know the
        longest request on the host read it instead of synchronising with the device. It may be an upper bound.
    accept_length_cpu: optional host mirror of `accept_length`; it must be equal to it.
    """

    seq_lens: torch.Tensor
    req_pool_indices: torch.Tensor
    accept_length: torch.Tensor | None = None
    seq_lens_cpu: torch.Tensor | None = None
    accept_length_cpu: torch.Tensor | None = None

    @property
    def bs(self) -> int:
        return self.seq_lens.shape[0]

    @property
    def mirrored(self) -> bool:
        return self.seq_lens_cpu is not None or self.accept_length_cpu is not None

    def is_ragged(self, mode: ForwardMode) -> bool:
        """Whether accept lengths, and not the mode alone, tell how many rows each request has."""
        return mode.is_draft_extend() and self.accept_length is not None

    def read_in(self, mode: ForwardMode) -> tuple[torch.Tensor, ...]:
        """The device tensors a replay of `mode` reads: `INPUTS`, the last one only where the batch is ragged."""
        if self.is_ragged(mode):
            return self.seq_lens, self.req_pool_indices, self.accept_length
        return self.seq_lens, self.req_pool_indices

    def padded(self, bs: int) -> "ReplayBatch":
        """This batch grown to a captured size as engines do it: length 1, pool row 0, accept length 1."""
        for name in _PADDING:
            if getattr(self, name) is not None:
                _check_tensor(name, getattr(self, name), None, None)
        require_int("bs", bs, self.bs)
        return ReplayBatch(*(_pad(getattr(self, name), bs - self.bs, fill) for name, fill in _PADDING.items()))

    def __repr__(self) -> str:
        return show.text(*self._shown())

    def _repr_html_(self) -> str:
        return show.html(*self._shown())

    def _shown(self) -> tuple[str, list[show.Line]]:
        given = {name: getattr(self, name) for name in _PADDING if getattr(self, name) is not None}
        return "ReplayBatch", [show.line(name, tensor) for name, tensor in given.items()]


INPUTS = ("seq_lens", "req_pool_indices", "accept_length")  # in the order of `ReplayBatch.read_in`
_PADDING = {"seq_lens": 1, "req_pool_indices": 0, "accept_length": 1, "seq_lens_cpu": 1, "accept_length_cpu": 1}


def _pad(values: torch.Tensor | None, extra: int, fill: int) -> torch.Tensor | None:
    return None if values is None else torch.cat([values, values.new_full((extra,), fill)])


Place = tuple[int, torch.dtype, torch.Size, tuple[int, ...]]


def places(tensors: Sequence[torch.Tensor]) -> tuple[Place, ...]:
    """Where tensors lie and how they are read: address, dtype, shape, strides. Equal places are the same inputs."""
    return tuple([(t.data_ptr(), t.dtype, t.shape, t.stride()) for t in tensors])  # a list first: half the time


@dataclass(frozen=True, slots=True)
class Extent:
    """The cells an exact replay writes: rows [:rows] (E), columns [:columns] (L)."""

    rows: int
    columns: int
    host_reads: int  # device tensors read to learn it; 0 on the CPU and with host mirrors


def require_req_to_token(req_to_token: object) -> None:
    """Raise TypeError or ValueError unless it is an int32 [pool, W] tensor with contiguous rows."""
    if not isinstance(req_to_token, torch.Tensor) or req_to_token.dtype != torch.int32:
        raise TypeError(f"req_to_token must be an int32 tensor, got {getattr(req_to_token, 'dtype', req_to_token)!r}")
    require_memory("req_to_token", req_to_token)
    if req_to_token.dim() != 2 or 0 in req_to_token.shape:
        raise ValueError(f"req_to_token must be [pool, W] and not empty, got shape {list(req_to_token.shape)}")
    if req_to_token.shape[1] > 1 and req_to_token.stride(1) != 1:
        raise ValueError(f"req_to_token has strides {req_to_token.stride()}; its rows must be contiguous")


def require_memory(name: str, tensor: torch.Tensor) -> None:
    """Raise ValueError unless the cells have an address and hold their values there, as a kernel reads them.

    Refused: fake, meta, sparse, nested, negated and freed tensors, and those inside `vmap` and its like. Such a
    tensor may have no shape to ask for, so this comes before any look at one.
    """
    dense = tensor.layout is _STRIDED and not tensor.is_nested
    if not dense or tensor.is_meta or type(tensor) not in _PLAIN:
        nested = "nested " if tensor.is_nested else ""
        kind = f"a {nested}{type(tensor).__name__} on {tensor.device} with layout {tensor.layout}"
        raise ValueError(f"{name} is {kind}; a replay reads and writes by address, so give a plain dense tensor")
    try:
        address = tensor.data_ptr()
    except RuntimeError as error:
        raise ValueError(
            f"{name} is a tensor inside a function transform (vmap, grad), which has no address ({error}); "
            "call this outside of it"
        ) from error
    if address == 0 and tensor.numel():
        raise ValueError(f"{name} has shape {list(tensor.shape)}, but its storage has been freed")
    if tensor.is_neg():
        raise ValueError(f"{name} is a negated view, whose memory holds the values before; pass .resolve_neg()")


def validate(
    config: NSAConfig,
    req_to_token: torch.Tensor,
    batch: ReplayBatch,
    mode: ForwardMode,
    *,
    width: int,
    num_steps: int = 1,
    read_values: bool,
    need_extent: bool = True,
) -> Extent | None:
    """Refuse a batch that cannot be replayed; else return the cells an exact replay of `num_steps` steps writes.

    Always checked, without touching the device: types, dtypes, ranks, sizes, devices, host mirrors and their values.
    `read_values`: also the values of the tensors, which synchronises when they are on a GPU.
    `need_extent`: without it nothing is read to learn the extent, and None is returned. With it a CUDA tensor is read
    (one synchronisation each) only where the batch has no host mirror of it.
    Raises TypeError (not a tensor, dtype) or ValueError (everything else), naming field and value. Writes nothing.
    """
    if not isinstance(batch, ReplayBatch):
        raise TypeError(f"batch must be a ReplayBatch, got {batch!r}")
    ragged = batch.is_ragged(mode)
    check_tensors(batch, req_to_token.device, mode)
    growth = config.length_growth(mode, num_steps - 1)
    known, reads = {}, 0
    for name in ("seq_lens", "accept_length") if ragged else ("seq_lens",):
        mirror, values = getattr(batch, f"{name}_cpu"), getattr(batch, name)
        if mirror is not None:
            known[f"{name}_cpu"] = mirror.tolist()
        if read_values or (need_extent and mirror is None):
            known[name] = values.tolist()
        reads += int(need_extent and mirror is None and values.is_cuda)
    for name, numbers in known.items():
        if name.startswith("seq_lens"):
            _check_lengths(name, numbers, growth, width)
        else:
            _check_accepts(name, numbers, config.num_draft_tokens)
    if read_values:
        _check_rows(batch.req_pool_indices.tolist(), req_to_token.shape[0])
        _check_mirrors(known)
    if not need_extent:
        return None
    accepts = known.get("accept_length_cpu", known.get("accept_length"))
    rows = sum(accepts) if ragged else batch.bs * config.rows_per_request(mode)
    return Extent(rows, max(known.get("seq_lens_cpu", known.get("seq_lens"))) + growth, reads)


def check_tensors(batch: ReplayBatch, device: torch.device, mode: ForwardMode) -> None:
    """Types, dtypes, ranks, sizes and devices of what a replay of `mode` reads."""
    _check_tensor("seq_lens", batch.seq_lens, device, None)
    bs = batch.bs
    if bs < 1:
        raise ValueError("seq_lens has 0 requests; a replay needs at least 1 (pad the batch: length 1, pool row 0)")
    _check_tensor("req_pool_indices", batch.req_pool_indices, device, bs)
    ragged = batch.is_ragged(mode)
    if ragged:
        _check_tensor("accept_length", batch.accept_length, device, bs)
    elif mode.is_draft_extend() and batch.accept_length_cpu is not None:
        raise ValueError(
            "accept_length_cpu is given, but accept_length, which it mirrors, is None; give both, or neither for "
            "num_draft_tokens rows per request"
        )
    for name in ("seq_lens_cpu", "accept_length_cpu") if ragged else ("seq_lens_cpu",):
        if getattr(batch, name) is not None:
            _check_tensor(name, getattr(batch, name), _CPU, bs)


def _check_tensor(name: str, value: object, device: torch.device | None, size: int | None) -> None:
    if not isinstance(value, torch.Tensor):
        raise TypeError(f"{name} must be a tensor, got {value!r}")
    if value.dtype not in _INTS:
        raise TypeError(f"{name} must be int32 or int64, got {value.dtype}; convert it with .to(torch.int64)")
    if device is not None and value.device != device:
        raise ValueError(f"{name} is on {value.device}, but must be on {device}")
    require_memory(name, value)
    if value.dim() != 1:
        raise ValueError(f"{name} must have one dimension [bs], got shape {list(value.shape)}")
    if size is not None and value.shape[0] != size:
        raise ValueError(f"{name} has {value.shape[0]} entries, but seq_lens has {size}; give one per request")


def _check_lengths(name: str, lengths: list[int], growth: int, width: int) -> None:
    if min(lengths) < 0:
        at = lengths.index(min(lengths))
        raise ValueError(f"{name}[{at}] is {lengths[at]}; a length is at least 0: give the number of cached tokens")
    if max(lengths) + growth > width:
        at = lengths.index(max(lengths))
        need = f"{lengths[at]} + {growth} columns" if growth else f"{lengths[at]} columns"
        raise ValueError(
            f"{name}[{at}] is {lengths[at]} and needs {need}, but the narrowest table has {width}; "
            "finish or shorten the request, or widen req_to_token and capture again"
        )
    if name == "seq_lens" and sum(lengths) + growth * len(lengths) > _MOST_TOKENS:
        raise ValueError(
            f"seq_lens sums to {sum(lengths) + growth * len(lengths)} tokens, above {_MOST_TOKENS}: cu_seqlens_k is "
            "int32 and would wrap; replay fewer requests at once"
        )


def _check_accepts(name: str, accepts: list[int], most: int) -> None:
    for at in (accepts.index(min(accepts)), accepts.index(max(accepts))):
        if not 0 <= accepts[at] <= most:
            raise ValueError(f"{name}[{at}] is {accepts[at]}; it must lie in 0..{most} (num_draft_tokens)")


def _check_rows(rows: list[int], pool: int) -> None:
    for at in (rows.index(min(rows)), rows.index(max(rows))):
        if not 0 <= rows[at] < pool:
            raise ValueError(f"req_pool_indices[{at}] is {rows[at]}; req_to_token has rows 0..{pool - 1}")


def _check_mirrors(known: dict[str, list[int]]) -> None:
    """Values against each other: mirrors against their tensors, accept lengths against lengths."""
    lengths = known["seq_lens"]
    for at, (length, mirror) in enumerate(zip(lengths, known.get("seq_lens_cpu", lengths), strict=True)):
        if mirror < length:
            raise ValueError(
                f"seq_lens_cpu[{at}] is {mirror}, below seq_lens[{at}] = {length}; columns the row needs "
                "would stay stale. Refresh the mirror, or leave it None"
            )
    accepts = known.get("accept_length", ())
    for at, (accept, mirror) in enumerate(zip(accepts, known.get("accept_length_cpu", accepts), strict=True)):
        if accept > lengths[at]:
            raise ValueError(
                f"accept_length[{at}] is {accept}, above seq_lens[{at}] = {lengths[at]}; the accepted tokens "
                "are part of the sequence, so seq_lens must already count them"
            )
        if mirror != accept:
            raise ValueError(
                f"accept_length_cpu[{at}] is {mirror}, but accept_length[{at}] is {accept}; "
                "refresh the mirror, or leave it None"
            )
