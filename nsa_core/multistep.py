"""N draft steps, their captured sets, and one strategy that refreshes them all."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from threading import Lock

import torch

from .adopt import adopt_metadata, require_separate
from .batch import ReplayBatch, require_req_to_token, validate
from .config import ForwardMode, NSAConfig, require_mode
from .metadata import Memory, NSAMetadata, memory
from .schedules import schedule_flashmla
from .strategies import strategy_class
from .strategies.base import NO_STEPS, Captured, ReplayReport, Strategy

_INPUTS = ("seq_lens", "req_pool_indices", "accept_length")
_VALIDATION = {"auto", "values", "shapes"}


class MultiStepBackend:
    """Captured metadata of N draft steps, refreshed before every graph replay.

    config: static facts, see `NSAConfig`.
    req_to_token: int32 [pool, W], KV slot of token t of request r; read at every replay, never written. Its device is
        the device of every buffer, its width the width of every table.
    num_steps: N >= 1 draft steps.
    strategy: a name from `nsa_core.strategies()`. One that cannot run here raises RuntimeError; nothing falls back.
    validation: "auto" reads tensor values where that is free, on the CPU. "values" reads them on a GPU too and so
        synchronises at every replay. "shapes" never reads them. Types, dtypes, shapes, devices and host mirrors are
        checked at every level.

    Captured addresses never change. A refused batch leaves every buffer of every step as it was. An error after the
    first write carries a note that names the steps it left behind, see `torn`; the next replay of that mode and batch
    size brings them all up to date.
    One thread at a time: while a call that writes is under way, another one raises RuntimeError. Threads that need to
    replay at the same time take a backend each; backends share nothing but `req_to_token`.
    """

    def __init__(
        self,
        config: NSAConfig,
        req_to_token: torch.Tensor,
        num_steps: int,
        strategy: str = "copy",
        validation: str = "auto",
    ) -> None:
        _require_arguments(config, req_to_token, num_steps, validation)
        self.config, self.req_to_token, self.num_steps, self.strategy = config, req_to_token, num_steps, strategy
        self._strategy_class = strategy_class(strategy, req_to_token.device)
        self._reads_values = validation == "values" or (validation == "auto" and not req_to_token.is_cuda)
        self._bound: dict[tuple[int, ForwardMode], Strategy] = {}
        self._recorded: dict[tuple[int, ForwardMode], tuple[tuple, ReplayBatch]] = {}
        self._repeats: dict[tuple[int, ForwardMode], _Repeat] = {}
        self._current: Strategy | None = None
        self.last_replay: ReplayReport | None = None
        self._busy, self._every_step = Lock(), range(num_steps)

    def capture(self, bs: int, mode: ForwardMode, inputs: ReplayBatch | None = None) -> list[NSAMetadata]:
        """Allocate the sets of `bs` requests in `mode`; returns step 0's to step N-1's.

        inputs: the engine's static input tensors, for a strategy that records them ("graph"); it brings its own
            otherwise, see `inputs()`. Their contents are not read now.
        Capturing twice returns the same sets: addresses are for good. IDLE replays what DECODE captured.
        """
        key = _key(bs, mode)
        with self._alone():
            if key not in self._bound:
                sets = self._strategy_class.allocate(self.config, self.req_to_token, *key, self.num_steps)
                self._bind(key, sets, inputs)
            elif inputs is not None and not self._bound[key].reads(inputs):
                raise ValueError(f"inputs: bs {bs} in {mode.name} is captured already and reads other tensors")
            self._current = self._bound[key]
        return self._bound[key].captured.sets

    def adopt(self, bs: int, mode: ForwardMode, held: Sequence[object]) -> list[NSAMetadata]:
        """Refresh an engine's own buffers, one object per step, instead of allocated ones.

        held: objects with the fields of `NSAMetadata` as attributes (`nsa_*` or `dsa_*`), see `adopt_metadata`.
        Writes once, now: the leading zeros and the sparse FlashMLA schedule; "graph" also refreshes once, for a padded
        batch. Query-side constants stay the engine's.
        """
        key = _key(bs, mode)
        with self._alone():
            if key in self._bound:
                raise ValueError(f"bs {bs} in {mode.name} is captured already; captured addresses cannot change")
            if len(held) != self.num_steps:
                raise ValueError(f"held has {len(held)} objects for {self.num_steps} steps; give one per step")
            sets = [adopt_metadata(self.config, self.req_to_token, *key, h) for h in held]
            require_separate(self.config, self.req_to_token, key[1], sets)
            self._bind(key, sets, None)
            self._current = self._bound[key]
        return sets

    def replay(self, batch: ReplayBatch, mode: ForwardMode) -> ReplayReport:
        """Bring every field of every step up to date for `batch`, whose size must be a captured one.

        Raises KeyError (mode or batch size not captured), TypeError or ValueError (see `nsa_core.batch.validate`)
        before the first write. Given the same batch object again, a strategy that reads nothing on the host does no
        more than launch, if there is nothing to check: values are not read, and the batch has no host mirrors.
        """
        if not self._busy.acquire(blocking=False):
            raise RuntimeError(_BUSY)
        try:
            return self._replay(batch, mode)
        except BaseException as error:
            if self._current is not None and self._current.torn:
                error.add_note(_torn_note(self._current))
            raise
        finally:
            self._busy.release()

    def _replay(self, batch: ReplayBatch, mode: ForwardMode) -> ReplayReport:
        again = self._repeats.get((id(batch), mode))
        if again is not None:
            bound = self._current = again.bound
            bound.torn = self._every_step
            again.launch()
            bound.torn = NO_STEPS
            self.last_replay = again.report
            return again.report
        bound = self._validated(batch, mode, self._reads_values)
        self._current = bound
        self.last_replay = bound.replay(batch)
        self._remember(batch, mode, bound)
        return self.last_replay

    @property
    def torn(self) -> tuple[int, ...]:
        """Steps that a failed replay left behind, in whichever captured set; the error's note says in which.

        Each of them may hold the batch before or mix two batches; the other steps hold the new one. None after an
        error that came before the first write: every step then holds what it held. Replay again before a graph reads
        a torn step: a replay of the same mode and batch size that returns leaves none there.
        """
        return tuple(sorted({step for bound in self._bound.values() for step in bound.torn}))

    @contextmanager
    def _alone(self) -> Iterator[None]:
        if not self._busy.acquire(blocking=False):
            raise RuntimeError(_BUSY)
        try:
            yield
        finally:
            self._busy.release()

    def refresh(self, batch: ReplayBatch, mode: ForwardMode) -> None:
        """The refresh as one launch on the current stream, to be recorded inside the caller's own CUDA graph.

        Needs a strategy that reads nothing on the host ("fused", "graph"); values are never checked. Recorded once,
        the graph reads these very tensors: another batch's tensors are refused with ValueError from then on, here and
        in `check_inputs`, whose call before the graph's replay costs no device work.
        """
        bound = self._validated(batch, mode, False)
        if not bound.capture_safe:
            raise RuntimeError(
                f"strategy {bound.name!r} needs lengths on the host, which a CUDA graph would freeze; "
                "refresh() needs 'fused' or 'graph'"
            )
        self.check_inputs(batch, mode)
        with self._alone():
            bound.launch(batch)
            if self.req_to_token.is_cuda and torch.cuda.is_current_stream_capturing():
                self._recorded[_key(batch.bs, mode)] = bound.addresses(batch), batch

    def check_inputs(self, batch: ReplayBatch, mode: ForwardMode) -> None:
        """Raise ValueError unless `batch` holds the tensors a recorded `refresh` of its size reads."""
        recorded = self._recorded.get(_key(batch.bs, mode))
        if recorded is None:
            return
        given = self._find(batch, mode).addresses(batch)
        for name, was, now in zip(_INPUTS, recorded[0], given, strict=False):
            if was != now:
                raise ValueError(
                    f"{name} is {now[1]} at {now[0]:#x}, but the recorded graph reads {was[1]} at "
                    f"{was[0]:#x}; write new values into the recorded tensor instead of passing another"
                )

    def forget_recording(self, bs: int, mode: ForwardMode) -> None:
        """The graph that recorded `refresh` for this size is gone: the next recording may read other tensors."""
        self._recorded.pop(_key(bs, mode), None)

    def inputs(self, bs: int, mode: ForwardMode) -> ReplayBatch:
        """The tensors the recorded graph reads. Write into them and replay this very batch: one graph launch."""
        self.sets(bs, mode)
        inputs = getattr(self._bound[_key(bs, mode)], "inputs", None)
        if inputs is None:
            raise RuntimeError(f"strategy {self.strategy!r} records no inputs; it reads the batch it is given")
        return inputs

    def memory(self, bs: int, mode: ForwardMode) -> Memory:
        """Bytes the captured sets hold, and would hold with a set per step."""
        return memory(self.sets(bs, mode))

    def sets(self, bs: int, mode: ForwardMode) -> list[NSAMetadata]:
        """The captured sets of a mode and batch size, step 0's to step N-1's."""
        key = _key(bs, mode)
        if key not in self._bound:
            captured = ", ".join(f"bs {b} in {m.name}" for b, m in self._bound) or "nothing"
            raise KeyError(f"bs {bs} in {mode.name} was not captured (captured: {captured}); call capture({bs}, ...)")
        return self._bound[key].captured.sets

    def __getitem__(self, step: int) -> NSAMetadata:
        """Step `step`'s set, of the mode and batch size captured, adopted or replayed last."""
        if self._current is None:
            raise KeyError(f"step {step}: nothing was captured yet; call capture(bs, mode)")
        return self._current.captured.sets[step]

    def __len__(self) -> int:
        return self.num_steps

    def _find(self, batch: ReplayBatch, mode: ForwardMode) -> Strategy:
        if not isinstance(batch, ReplayBatch):
            raise TypeError(f"batch must be a ReplayBatch, got {batch!r}")
        lengths = batch.seq_lens
        if not isinstance(lengths, torch.Tensor):
            raise TypeError(f"seq_lens must be a tensor, got {lengths!r}")
        if lengths.dim() != 1:
            raise ValueError(f"seq_lens must have one dimension [bs], got shape {list(lengths.shape)}")
        self.sets(batch.bs, mode)
        return self._bound[_key(batch.bs, mode)]

    def _validated(self, batch: ReplayBatch, mode: ForwardMode, read_values: bool) -> Strategy:
        bound = self._find(batch, mode)
        c = bound.captured
        validate(
            c.config, c.req_to_token, batch, c.mode, width=c.width, num_steps=self.num_steps, read_values=read_values
        )
        return bound

    def _remember(self, batch: ReplayBatch, mode: ForwardMode, bound: Strategy) -> None:
        mirrored = batch.seq_lens_cpu is not None or batch.accept_length_cpu is not None  # their values are checked
        launch = None if self._reads_values or mirrored else bound.repeat(batch)
        self._repeats = {key: again for key, again in self._repeats.items() if again.bound is not bound}
        if launch is not None:
            self._repeats[id(batch), mode] = _Repeat(batch, launch, bound, self.last_replay)

    def _bind(self, key: tuple[int, ForwardMode], sets: list[NSAMetadata], inputs: ReplayBatch | None) -> None:
        bs, mode = key
        if inputs is not None:
            self._require_inputs(bs, mode, inputs)
        bound = self._strategy_class(Captured(self.config, self.req_to_token, mode, bs, sets, inputs))  # may refuse
        for captured in {id(s): s for s in sets}.values():
            _write_constants(self.config, captured, bs * self.config.rows_per_request(mode))
        self._bound[key] = bound

    def _require_inputs(self, bs: int, mode: ForwardMode, inputs: ReplayBatch) -> None:
        if not hasattr(self._strategy_class, "reads"):
            raise ValueError(
                f"inputs were given, but strategy {self.strategy!r} records none: it reads every batch "
                "where it is; leave them out, or use 'graph'"
            )
        validate(
            self.config,
            self.req_to_token,
            inputs,
            mode,
            width=self.req_to_token.shape[1],
            num_steps=self.num_steps,
            read_values=False,
        )
        if inputs.bs != bs:
            raise ValueError(f"inputs.seq_lens has {inputs.bs} requests, but bs is {bs}")


_BUSY = (
    "this backend is in use by another thread, or by the call that led here; replay from one thread at a time, "
    "or give each thread a backend of its own"
)


def _torn_note(bound: Strategy) -> str:
    first, last, c = bound.torn[0], bound.torn[-1], bound.captured
    steps = f"step {first}" if first == last else f"steps {first}..{last}"
    return f"{steps} of bs {c.bs} in {c.mode.name} may be torn; replay again before a graph reads them"


@dataclass(frozen=True, slots=True)
class _Repeat:
    """A batch object seen before: nothing about it but the contents of its tensors can have changed.

    Each captured set remembers its last one. It is kept alive here, so its id stays its own.
    """

    batch: ReplayBatch
    launch: Callable[[], object]
    bound: Strategy
    report: ReplayReport


def _key(bs: int, mode: ForwardMode) -> tuple[int, ForwardMode]:
    if isinstance(bs, bool) or not isinstance(bs, int):
        raise TypeError(f"bs must be an int, got {bs!r}")
    if bs < 1:
        raise ValueError(f"bs must be at least 1, got {bs}")
    return bs, require_mode(mode).captured_as


def _write_constants(config: NSAConfig, captured: NSAMetadata, cap: int) -> None:
    """What a replay never writes again."""
    captured.cu_seqlens_k[:1].zero_()
    captured.nsa_cu_seqlens_k[:1].zero_()
    if captured.flashmla_metadata is not None:
        # Sparse: a function of (rows, topk, parts), all fixed by the capture, so this is the only time it is computed.
        # Dense: a valid schedule to capture the graph with; every replay brings its own.
        rows = captured.nsa_cache_seqlens_int32[:cap]
        schedule = schedule_flashmla(rows, config.flashmla_num_sm_parts, config.index_topk)
        captured.flashmla_metadata.slice(slice(0, cap + 1)).copy_(schedule)


def _require_arguments(config: NSAConfig, req_to_token: torch.Tensor, num_steps: int, validation: str) -> None:
    if not isinstance(config, NSAConfig):
        raise TypeError(f"config must be an NSAConfig, got {config!r}")
    require_req_to_token(req_to_token)
    if isinstance(num_steps, bool) or not isinstance(num_steps, int):
        raise TypeError(f"num_steps must be an int, got {num_steps!r}")
    if num_steps < 1:
        raise ValueError(f"num_steps must be at least 1, got {num_steps}")
    if validation not in _VALIDATION:
        raise ValueError(f"validation must be one of {sorted(_VALIDATION)}, got {validation!r}")
