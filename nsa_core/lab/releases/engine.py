"""A release's draft steps as its CUDA-graph runner drives them: built, captured, refreshed; its own buffers."""

import contextlib
from collections.abc import Callable
from types import SimpleNamespace

import torch

from nsa_core import ForwardMode, NSAConfig, ReplayBatch

from .standins import EngineMode, Loaded

LEFT_OUT = "FlashMLA metadata (attention 'fa3' reads none), index pools, the top-k plan"
_NUM_HEADS, _ARANGE = 128, 16384  # query heads of a rank; cells of the arange that a backend slices


class Engine:
    """N backends of one release over one `req_to_token`, driven through the release's own functions.

    Backends are made without their constructors, which want a model; what a refresh reads of them is set here. Table
    width is that of `req_to_token`. A refresh brings all draft steps up to date in one call in decode, and each
    backend by itself in the other modes, as the release does.
    """

    replays: str  # the method that a refresh calls
    needs_host_lengths: bool

    def __init__(self, loaded: Loaded, config: NSAConfig, req_to_token: torch.Tensor, steps: int) -> None:
        self.release, self.config, self.req_to_token = loaded.release, config, req_to_token
        self.backends = [self._made(loaded.backend) for _ in range(steps)]
        self.draft = _bare(loaded.multi_step)
        self.draft.attn_backends, self.draft.topk = self.backends, 1
        self.draft.speculative_num_steps = steps + self.release.spare_steps

    def capture(self, bs: int, mode: ForwardMode) -> list[object]:
        """The captured sets of all steps, the release's own objects. Once per engine: it keeps one mode per size."""
        self.bs, self.mode = bs, mode
        rows, device = bs * self.config.rows_per_request(mode), self.req_to_token.device
        fill = torch.full((bs,), self.backends[0].get_cuda_graph_seq_len_fill_value(), device=device)
        accepts = torch.full((bs,), self.config.num_draft_tokens, dtype=torch.int32, device=device)
        for backend in self.backends:
            backend.init_cuda_graph_state(bs, rows)
        self._capture(self._forward_batch(ReplayBatch(fill, torch.zeros_like(fill), accepts)), rows)
        return [backend.decode_cuda_graph_metadata[bs] for backend in self.backends]

    def refresh(self, batch: ReplayBatch) -> None:
        """What the release does before a graph's replay."""
        self.refresh_of(batch)()

    def refresh_of(self, batch: ReplayBatch) -> Callable[[], None]:
        """The refresh for these very tensors, as a call that leaves what the engine's runner does to the runner."""
        arguments = self._arguments(self._forward_batch(batch))
        calls = [getattr(driven, self.replays) for driven in self._driven]

        def refresh() -> None:
            for call in calls:
                call(*arguments)

        return refresh

    @property
    def entry(self) -> Callable:
        """The release's function that a refresh calls."""
        return getattr(self._driven[0], self.replays)

    @property
    def _driven(self) -> list[object]:
        return [self.draft] if self.mode.is_decode_or_idle() else self.backends

    def _forward_batch(self, batch: ReplayBatch) -> SimpleNamespace:
        """As much of the engine's batch as a refresh reads."""
        accepts, host_lengths = batch.accept_length, batch.seq_lens_cpu
        if host_lengths is None and self.needs_host_lengths:
            host_lengths = batch.seq_lens.cpu()
        return SimpleNamespace(
            batch_size=self.bs,
            req_pool_indices=batch.req_pool_indices,
            seq_lens=batch.seq_lens,
            seq_lens_cpu=host_lengths,
            seq_lens_sum=-1,
            forward_mode=EngineMode(self.mode),
            spec_info=SimpleNamespace(accept_length=accepts, num_accept_tokens=accepts),
        )

    def _made(self, cls: type) -> object:
        backend, prefix, device = _bare(cls), self.release.prefix, self.req_to_token.device
        backend.device, backend.req_to_token, backend.max_context_len = device, self.req_to_token, self.width
        backend.speculative_num_draft_tokens, backend.num_q_heads = self.config.num_draft_tokens, _NUM_HEADS
        backend.use_mha = backend.enable_auto_select_prefill_impl = False
        backend._arange_buf = torch.arange(_ARANGE, dtype=torch.int32, device=device)
        setattr(backend, f"{prefix}_index_topk", self.config.index_topk)
        setattr(backend, f"{prefix}_decode_impl", "fa3")
        setattr(backend, f"{prefix}_prefill_impl", "fa3")
        return backend

    @property
    def width(self) -> int:
        return self.req_to_token.shape[1]


class NsaEngine(Engine):
    """0.5.6 to 0.5.10: one function captures, another replays, and the host must know every length."""

    replays = "init_forward_metadata_replay_cuda_graph"
    needs_host_lengths = True

    def _made(self, cls: type) -> object:
        backend = super()._made(cls)
        backend.real_page_size, backend._force_attn_forward_mla = self.config.page_size, False
        return backend

    def _capture(self, b: SimpleNamespace, rows: int) -> None:
        if self.mode.is_decode_or_idle():
            self.draft.init_forward_metadata_capture_cuda_graph(b)
            return
        given = (self.bs, rows, b.req_pool_indices, b.seq_lens, None, b.forward_mode, b.spec_info)
        for backend in self.backends:
            backend.init_forward_metadata_capture_cuda_graph(*given)

    def _arguments(self, b: SimpleNamespace) -> tuple:
        if self.mode.is_decode_or_idle():
            return b, self.bs
        given = (self.bs, b.req_pool_indices, b.seq_lens, b.seq_lens_sum, None, b.forward_mode, b.spec_info)
        return *given, b.seq_lens_cpu


class DsaEngine(Engine):
    """0.5.23: one function captures and replays, and reads no length on the host."""

    replays = "init_forward_metadata_out_graph"
    needs_host_lengths = False

    def _made(self, cls: type) -> object:
        backend = super()._made(cls)
        backend.physical_page_size, backend.dsa_index_kpool = self.config.page_size, 1
        backend.dsa_topk_backend = SimpleNamespace(should_use_topk_v2=lambda: False)
        backend.hisparse_coordinator = None
        backend._memory_saver_adapter = SimpleNamespace(region=lambda tag: contextlib.nullcontext())
        backend._is_in_breakable_cuda_graph = backend._is_in_tc_piecewise_cuda_graph = lambda: False
        backend._get_device_sm = backend._is_blackwell = None
        backend._init_kpool_metadata_fusion()
        return backend

    def _capture(self, b: SimpleNamespace, rows: int) -> None:
        for backend in self.backends:
            backend.init_forward_metadata_out_graph(b, in_capture=True)

    def _arguments(self, b: SimpleNamespace) -> tuple:
        return (b,)


_ENGINES = {"nsa": NsaEngine, "dsa": DsaEngine}


def engine_of(loaded: Loaded, config: NSAConfig, req_to_token: torch.Tensor, steps: int) -> Engine:
    """An engine of the loaded release; capture it for one batch size and mode."""
    return _ENGINES[loaded.release.prefix](loaded, config, req_to_token, steps)


def _bare(cls: type) -> object:
    """An object without its constructor run."""
    return object.__new__(cls)
