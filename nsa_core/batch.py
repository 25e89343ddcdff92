"""What an engine hands to a replay, and every check made on it before the first write."""

from dataclasses import dataclass

import torch

from .config import ForwardMode, NSAConfig

_INTS = (torch.int32, torch.int64)


@dataclass(frozen=True, slots=True)
class ReplayBatch:
    """One batch, as the engine's graph runner holds it.

    seq_lens: int32/int64 [bs], tokens of each request, on the device of `req_to_token`.
    req_pool_indices: int32/int64 [bs], each request's row of `req_to_token`.
    accept_length: int32/int64 [bs], rows each request has in draft extend; other modes do not read it.
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

    def padded(self, bs: int) -> "ReplayBatch":
        """This batch grown to a captured size as engines do it: length 1, pool row 0, accept length 1."""
        extra = bs - self.bs
        if extra < 0:
            raise ValueError(f"bs must be at least the batch's own {self.bs} to pad to, got {bs}")
        return ReplayBatch(*(_pad(getattr(self, name), extra, fill) for name, fill in _PADDING.items()))


_PADDING = {"seq_lens": 1, "req_pool_indices": 0, "accept_length": 1, "seq_lens_cpu": 1, "accept_length_cpu": 1}


def _pad(values: torch.Tensor | None, extra: int, fill: int) -> torch.Tensor | None:
    return None if values is None else torch.cat([values, values.new_full((extra,), fill)])


@dataclass(frozen=True, slots=True)
class Extent:
    """The cells an exact replay writes: rows [:rows] (E), columns [:columns] (L)."""

    rows: int
    columns: int
    host_reads: int  # device tensors read to learn it; 0 on the CPU and with host mirrors


def extent(config: NSAConfig, batch: ReplayBatch, mode: ForwardMode, width: int, num_steps: int = 1) -> Extent:
    """E and L of a batch. Reads CUDA tensors (one synchronisation each) only where the batch has no host mirror."""
    lengths = _host_copy(batch.seq_lens, batch.seq_lens_cpu)
    growth = config.length_growth(mode, num_steps - 1)
    _check_lengths("seq_lens", lengths, growth, width)
    reads = int(batch.seq_lens_cpu is None and batch.seq_lens.is_cuda)
    if not mode.is_draft_extend():
        return Extent(batch.bs * config.rows_per_request(mode), max(lengths) + growth, reads)
    reads += int(batch.accept_length_cpu is None and batch.accept_length.is_cuda)
    accepts = _host_copy(batch.accept_length, batch.accept_length_cpu)
    _check_accepts("accept_length", accepts, config.num_draft_tokens)
    return Extent(sum(accepts), max(lengths) + growth, reads)


def require_req_to_token(req_to_token: object) -> None:
    """Raise TypeError or ValueError unless it is an int32 [pool, W] tensor with contiguous rows."""
    if not isinstance(req_to_token, torch.Tensor) or req_to_token.dtype != torch.int32:
        raise TypeError(f"req_to_token must be an int32 tensor, got {getattr(req_to_token, 'dtype', req_to_token)!r}")
    if req_to_token.dim() != 2 or 0 in req_to_token.shape:
        raise ValueError(f"req_to_token must be [pool, W] and not empty, got shape {list(req_to_token.shape)}")
    if req_to_token.stride(1) != 1:
        raise ValueError(f"req_to_token has strides {req_to_token.stride()}; its rows must be contiguous")


def _host_copy(values: torch.Tensor, mirror: torch.Tensor | None) -> list[int]:
    return (values if mirror is None else mirror).tolist()


def validate(
    config: NSAConfig,
    req_to_token: torch.Tensor,
    batch: ReplayBatch,
    mode: ForwardMode,
    *,
    width: int,
    num_steps: int = 1,
    read_values: bool,
) -> None:
    """Refuse a batch that cannot be replayed. Writes nothing.

    Always checked, without touching the device: types, dtypes, ranks, sizes, devices, host mirrors and their values.
    With `read_values` also the values of the tensors, which synchronises when they are on a GPU.
    Raises TypeError (not a tensor, dtype) or ValueError (everything else), naming the field and the value.
    """
    if not isinstance(batch, ReplayBatch):
        raise TypeError(f"batch must be a ReplayBatch, got {batch!r}")
    extend = mode.is_draft_extend()
    _check_tensors(batch, req_to_token.device, extend)
    growth = config.length_growth(mode, num_steps - 1)
    if batch.seq_lens_cpu is not None:
        _check_lengths("seq_lens_cpu", batch.seq_lens_cpu.tolist(), growth, width)
    if extend and batch.accept_length_cpu is not None:
        _check_accepts("accept_length_cpu", batch.accept_length_cpu.tolist(), config.num_draft_tokens)
    if read_values:
        _check_values(config, req_to_token.shape[0], batch, extend, growth, width)


def _check_tensors(batch: ReplayBatch, device: torch.device, extend: bool) -> None:
    _check_tensor("seq_lens", batch.seq_lens, device, None)
    bs = batch.bs
    if bs < 1:
        raise ValueError("seq_lens has 0 requests; a replay needs at least 1 (pad the batch: length 1, pool row 0)")
    _check_tensor("req_pool_indices", batch.req_pool_indices, device, bs)
    if extend and batch.accept_length is None:
        raise ValueError("accept_length is None; draft_extend needs one accept length per request")
    if extend:
        _check_tensor("accept_length", batch.accept_length, device, bs)
    for name in ("seq_lens_cpu",) + ("accept_length_cpu",) * extend:
        if getattr(batch, name) is not None:
            _check_tensor(name, getattr(batch, name), _CPU, bs)


_CPU = torch.device("cpu")


def _check_tensor(name: str, value: object, device: torch.device, size: int | None) -> None:
    if not isinstance(value, torch.Tensor):
        raise TypeError(f"{name} must be a tensor, got {value!r}")
    if value.dtype not in _INTS:
        raise TypeError(f"{name} must be int32 or int64, got {value.dtype}")
    if value.dim() != 1:
        raise ValueError(f"{name} must have one dimension [bs], got shape {list(value.shape)}")
    if size is not None and value.shape[0] != size:
        raise ValueError(f"{name} has {value.shape[0]} entries, but seq_lens has {size}; give one per request")
    if value.device != device:
        raise ValueError(f"{name} is on {value.device}, but must be on {device}")


def _check_lengths(name: str, lengths: list[int], growth: int, width: int) -> None:
    if min(lengths) < 0:
        at = lengths.index(min(lengths))
        raise ValueError(f"{name}[{at}] is {lengths[at]}; a length is at least 0")
    if max(lengths) + growth > width:
        at = lengths.index(max(lengths))
        need = f"{lengths[at]} + {growth} columns" if growth else f"{lengths[at]} columns"
        raise ValueError(
            f"{name}[{at}] is {lengths[at]} and needs {need}, but the narrowest table has {width}; "
            "finish or shorten the request, or widen req_to_token and capture again"
        )


def _check_accepts(name: str, accepts: list[int], most: int) -> None:
    for at in (accepts.index(min(accepts)), accepts.index(max(accepts))):
        if not 0 <= accepts[at] <= most:
            raise ValueError(f"{name}[{at}] is {accepts[at]}; it must lie in 0..{most} (num_draft_tokens)")


def _check_values(config: NSAConfig, pool: int, batch: ReplayBatch, extend: bool, growth: int, width: int) -> None:
    lengths, rows = batch.seq_lens.tolist(), batch.req_pool_indices.tolist()
    _check_lengths("seq_lens", lengths, growth, width)
    for at in (rows.index(min(rows)), rows.index(max(rows))):
        if not 0 <= rows[at] < pool:
            raise ValueError(f"req_pool_indices[{at}] is {rows[at]}; req_to_token has rows 0..{pool - 1}")
    if batch.seq_lens_cpu is not None:
        _check_mirror(lengths, batch.seq_lens_cpu.tolist())
    if extend:
        _check_accept_values(config, batch, lengths)


def _check_mirror(lengths: list[int], mirror: list[int]) -> None:
    for at, (length, claimed) in enumerate(zip(lengths, mirror, strict=True)):
        if claimed < length:
            raise ValueError(
                f"seq_lens_cpu[{at}] is {claimed}, below seq_lens[{at}] = {length}; columns the row needs "
                "would stay stale. Refresh the mirror, or leave it None"
            )


def _check_accept_values(config: NSAConfig, batch: ReplayBatch, lengths: list[int]) -> None:
    accepts = batch.accept_length.tolist()
    _check_accepts("accept_length", accepts, config.num_draft_tokens)
    mirror = accepts if batch.accept_length_cpu is None else batch.accept_length_cpu.tolist()
    for at, (accept, length, claimed) in enumerate(zip(accepts, lengths, mirror, strict=True)):
        if accept > length:
            raise ValueError(
                f"accept_length[{at}] is {accept}, above seq_lens[{at}] = {length}; the accepted tokens "
                "are part of the sequence, so seq_lens must already count them"
            )
        if claimed != accept:
            raise ValueError(
                f"accept_length_cpu[{at}] is {claimed}, but accept_length[{at}] is {accept}; "
                "refresh the mirror, or leave it None"
            )
