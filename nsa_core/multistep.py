"""N draft steps, their captured sets, and one strategy that refreshes them all."""

from collections.abc import Callable, Sequence
from functools import partial

import torch

from .adopt import adopt_metadata, require_separate
from .batch import (
    INPUTS,
    Extent,
    Place,
    ReplayBatch,
    check_tensors,
    places,
    require_memory,
    require_req_to_token,
    validate,
)
from .config import ForwardMode, NSAConfig, require_int, require_mode
from .metadata import Memory, NSAMetadata, memory
from .schedules import schedule_flashmla
from .strategies import strategy_class
from .strategies.base import Captured, ReplayReport, Strategy

_VALIDATION = ("auto", "values", "shapes")
_MOST_KNOWN = 1024  # sets of input tensors remembered at a time, 0.3 KB each: an engine has a few for each batch size
_Key = tuple[int, ForwardMode]
_Known = tuple[Strategy, Callable[[ReplayBatch], ReplayReport]]


class MultiStepBackend:
    """Captured metadata of N draft steps, refreshed before every graph replay.

    config: static facts, see `NSAConfig`.
    req_to_token: int32 [pool, W], KV slot of token t of request r; read at every replay, never written. Its device is
        the device of every buffer, its width the width of every table.
    num_steps: N >= 1 draft steps.
    strategy: a name from `nsa_core.strategies()`. One that cannot run here raises RuntimeError; nothing falls back.
    validation: "auto" reads tensor values where that is free, on the CPU. "values" reads them on a GPU too and so
        synchronises at every replay. "shapes" never reads them: a pool row that is not there, a wrong mirror or
        lengths that sum to 2**31 are then the engine's to avoid. Types, dtypes, shapes, devices and host mirrors
        are checked at every level.

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
        if not isinstance(config, NSAConfig):
            raise TypeError(f"config must be an NSAConfig, got {config!r}")
        require_req_to_token(req_to_token)
        require_int("num_steps", num_steps, 1)
        if validation not in _VALIDATION:
            raise ValueError(f"validation must be one of {', '.join(_VALIDATION)}, got {validation!r}")
        self._strategy_class = strategy_class(strategy, req_to_token.device)
        self._config, self._req_to_token, self._num_steps, self._strategy = config, req_to_token, num_steps, strategy
        self._reads_values = validation == "values" or (validation == "auto" and not req_to_token.is_cuda)
        several = torch.cuda.device_count() > 1
        self._device = req_to_token.get_device() if several else -1  # -1: no other GPU can be the current one
        self._strategies: dict[_Key, Strategy] = {}
        self._remembers = self._strategy_class.capture_safe and not self._reads_values
        self._known: dict[tuple[ForwardMode, tuple[Place, ...]], _Known] = {}
        self._recorded: dict[_Key, tuple[tuple[Place, ...], ReplayBatch]] = {}
        self._current: Strategy | None = None
        self._turn: dict[str, object] = {}
        self.last_replay: ReplayReport | None = None

    @property
    def config(self) -> NSAConfig:
        return self._config

    @property
    def req_to_token(self) -> torch.Tensor:
        return self._req_to_token

    @property
    def num_steps(self) -> int:
        return self._num_steps

    @property
    def strategy(self) -> str:
        return self._strategy

    def capture(self, bs: int, mode: ForwardMode, inputs: ReplayBatch | None = None) -> list[NSAMetadata]:
        """Allocate the sets of `bs` requests in `mode`; returns step 0's to step N-1's.

        inputs: the engine's static input tensors, for a strategy that records them ("graph"); it brings its own
            otherwise, see `inputs()`. Their contents are not read now. In draft extend, inputs without accept lengths
            serve batches without them only; inputs with them serve both, at d per request for a batch without.
        Capturing twice returns the same sets: addresses are for good. IDLE replays what DECODE captured.
        """
        return self._in_turn(self._capture, _key(bs, mode), inputs)

    def _capture(self, key: _Key, inputs: ReplayBatch | None) -> list[NSAMetadata]:
        if inputs is not None:
            self._check_recordable(*key, inputs)
        if key not in self._strategies:
            sets = self._strategy_class.allocate(self.config, self.req_to_token, *key, self.num_steps)
            self._attach(key, sets, inputs)
        elif inputs is not None and not self._strategies[key].reads(inputs):
            raise ValueError(f"inputs: bs {key[0]} in {key[1].name} is captured already and reads other tensors")
        self._current = self._strategies[key]
        return self.sets(*key)

    def adopt(
        self, bs: int, mode: ForwardMode, metadata: Sequence[object], inputs: ReplayBatch | None = None
    ) -> list[NSAMetadata]:
        """Refresh an engine's own buffers, one object per step, instead of allocated ones.

        metadata: objects with the fields of `NSAMetadata` as attributes (`nsa_*` or `dsa_*`), see `adopt_metadata`.
        inputs: the engine's static input tensors, as in `capture`.
        Writes once, now: the leading zeros and the sparse FlashMLA schedule; "graph" also refreshes once, for a
        padded batch. Query-side constants stay the engine's.
        """
        return self._in_turn(self._adopt, _key(bs, mode), metadata, inputs)

    def _adopt(self, key: _Key, metadata: Sequence[object], inputs: ReplayBatch | None) -> list[NSAMetadata]:
        if key in self._strategies:
            raise ValueError(f"bs {key[0]} in {key[1].name} is captured already; captured addresses cannot change")
        if not isinstance(metadata, Sequence):
            raise TypeError(f"metadata must be a list of {self.num_steps} objects, one per step, got {metadata!r}")
        if len(metadata) != self.num_steps:
            raise ValueError(f"metadata has {len(metadata)} objects for {self.num_steps} steps; give one per step")
        if inputs is not None:
            self._check_recordable(*key, inputs)
        sets = [self._adopted(key, step, source) for step, source in enumerate(metadata)]
        self._attach(key, sets, inputs)
        self._current = self._strategies[key]
        return self.sets(*key)

    def _adopted(self, key: _Key, step: int, source: object) -> NSAMetadata:
        try:
            return adopt_metadata(self.config, self.req_to_token, *key, source)
        except (TypeError, ValueError) as error:
            raise type(error)(f"{error}; see metadata[{step}]") from error

    def replay(self, batch: ReplayBatch, mode: ForwardMode) -> ReplayReport:
        """Bring every field of every step up to date for `batch`, whose size must be a captured one.

        Raises KeyError (mode or batch size not captured), TypeError or ValueError (see `nsa_core.batch.validate`)
        before the first write. A strategy that reads nothing on the host ("fused", "graph") does not check tensors
        again that it knows by address, dtype, shape and strides; values that are read, and host mirrors, always are.
        """
        return self._in_turn(self._replay, batch, mode)

    def _replay(self, batch: ReplayBatch, mode: ForwardMode) -> ReplayReport:
        known = self._known_tensors(batch, mode)  # None for every strategy that reads lengths on the host
        if known is not None:
            return self._run(*known, batch)
        strategy, extent = self._validated(batch, mode, self._reads_values)
        if not self._remembers:
            return self._run(strategy, partial(strategy.replay, extent=extent), batch)
        return self._run(*self._remember(strategy, batch, mode), batch)

    def _run(
        self, strategy: Strategy, replay: Callable[[ReplayBatch], ReplayReport], batch: ReplayBatch
    ) -> ReplayReport:
        strategy.captured.require_held()
        self._current = strategy
        self.last_replay = replay(batch)
        return self.last_replay

    def bind(self, batch: ReplayBatch, mode: ForwardMode) -> Callable[[], ReplayReport]:
        """A replay of these very tensors as a call without arguments, checked once, now; nothing is written yet.

        For static input tensors whose contents change between calls. The caller promises that they stay where they
        are (no `resize_`, no `set_`) and that their values are legal: under every `validation`, neither the tensors'
        values nor the batch's host mirrors are read again.
        Needs a strategy that reads nothing on the host ("fused", "graph"). "graph" launches without a copy where
        the tensors are the recorded ones, see `inputs`.
        """
        strategy = self._in_turn(self._bindable, batch, mode)
        return partial(self._in_turn, self._run, strategy, strategy.replay_of(batch), batch)

    def _bindable(self, batch: ReplayBatch, mode: ForwardMode) -> Strategy:
        strategy, _ = self._validated(batch, mode, self._reads_values)
        if not strategy.capture_safe:
            raise RuntimeError(
                f"strategy {self.strategy!r} needs lengths on the host at every replay, so there is nothing to bind; "
                "use 'fused' or 'graph'"
            )
        return strategy

    @property
    def torn(self) -> tuple[int, ...]:
        """Steps that a failed replay left behind, in whichever captured set; the error's note says in which.

        Each of them may hold the batch before or mix two batches; the other steps hold the new one. None after an
        error that came before the first write: every step then holds what it held. Replay again before a graph reads
        a torn step: a replay of the same mode and batch size that returns leaves none there.
        """
        return tuple(sorted({step for strategy in self._strategies.values() for step in strategy.torn}))

    def _in_turn(self, work: Callable, *arguments: object) -> object:
        """Do `work` while no other call does, on the device of `req_to_token`; note what an error left torn."""
        me = object()
        try:
            # Taken inside the try and told by identity, so that an interrupt between the two leaves nothing taken.
            if self._turn.setdefault("taken", me) is not me:
                raise RuntimeError(_BUSY)
            if self._device < 0 or self._device == torch.cuda.current_device():
                return work(*arguments)
            with torch.cuda.device(self._device):
                return work(*arguments)
        except BaseException as error:
            if self._current is not None and self._current.torn and self._turn.get("taken") is me:
                error.add_note(_torn_note(self._current))
            raise
        finally:
            if "taken" in self._turn and self._turn["taken"] is me:
                del self._turn["taken"]

    def refresh(self, batch: ReplayBatch, mode: ForwardMode) -> None:
        """The refresh as one launch on the current stream, to be recorded inside the caller's own CUDA graph.

        Needs a strategy that reads nothing on the host ("fused", "graph"); values are never checked. Recorded once,
        the graph reads these very tensors: another batch's tensors are refused with ValueError from then on, here and
        in `check_inputs`, whose call before the graph's replay costs no device work.
        """
        self._in_turn(self._refresh, batch, mode)

    def _refresh(self, batch: ReplayBatch, mode: ForwardMode) -> None:
        strategy, _ = self._validated(batch, mode, False)
        self.check_inputs(batch, mode)
        self._current = strategy
        strategy.launch(batch)
        if self.req_to_token.is_cuda and torch.cuda.is_current_stream_capturing():
            self._recorded[_key(batch.bs, mode)] = places(batch.read_in(mode)), batch

    def check_inputs(self, batch: ReplayBatch, mode: ForwardMode) -> None:
        """Raise ValueError unless `batch` holds the tensors a recorded `refresh` of its size reads."""
        strategy, recorded = self._find(batch, mode), self._recorded.get(_key(batch.bs, mode))
        if recorded is None:
            return
        check_tensors(batch, self.req_to_token.device, strategy.captured.mode)
        reads, given = recorded[0], places(batch.read_in(mode))
        if len(reads) != len(given):  # the other form of draft extend
            raise ValueError(
                f"accept_length is {_none_or_given(given)}, but was {_none_or_given(reads)} when the graph was "
                "recorded; leave that as it was, or record again after forget_recording"
            )
        for name, then, now in zip(INPUTS, reads, given, strict=False):
            if then != now:
                raise ValueError(
                    f"{name} is {now[1]} at {now[0]:#x}, but the recorded graph reads {then[1]} at "
                    f"{then[0]:#x}; write new values into the recorded tensor instead of passing another"
                )

    def forget_recording(self, bs: int, mode: ForwardMode) -> None:
        """The graph that recorded `refresh` for this size is gone: the next recording may read other tensors."""
        self._recorded.pop(_key(bs, mode), None)

    def inputs(self, bs: int, mode: ForwardMode) -> ReplayBatch:
        """The tensors the recorded graph reads. Write into them and replay this very batch: one graph launch."""
        self.sets(bs, mode)
        inputs = self._strategies[_key(bs, mode)].inputs
        if inputs is None:
            raise RuntimeError(f"strategy {self.strategy!r} records no inputs; it reads the batch it is given")
        return inputs

    def memory(self, bs: int, mode: ForwardMode) -> Memory:
        """Bytes the captured sets hold, and would hold with a set per step."""
        return memory(self.sets(bs, mode))

    def sets(self, bs: int, mode: ForwardMode) -> list[NSAMetadata]:
        """The captured sets of a mode and batch size, step 0's to step N-1's."""
        return list(self._of(_key(bs, mode)).captured.sets)

    def __getitem__(self, step: int) -> NSAMetadata:
        """Step `step`'s set, of the mode and batch size captured, adopted or replayed last."""
        if self._current is None:
            raise KeyError(f"step {step}: nothing was captured yet; call capture(bs, mode)")
        if isinstance(step, bool) or not isinstance(step, int):
            raise TypeError(f"step must be an int, got {step!r}")
        if not -self.num_steps <= step < self.num_steps:
            raise IndexError(f"step {step} is not there; the captured steps are 0..{self.num_steps - 1}")
        return self._current.captured.sets[step]

    def __len__(self) -> int:
        return self.num_steps

    def __repr__(self) -> str:
        sizes = ", ".join(f"bs {bs} in {mode.name}" for bs, mode in self._strategies) or "nothing captured yet"
        width = f"tables of {self.req_to_token.shape[1]} columns on {self.req_to_token.device}"
        return f"MultiStepBackend({self.num_steps} steps by {self.strategy!r}, {width}; {sizes})"

    def _of(self, key: _Key) -> Strategy:
        strategy = self._strategies.get(key)
        if strategy is None:
            captured = ", ".join(f"bs {bs} in {mode.name}" for bs, mode in self._strategies) or "nothing"
            bs, mode = key
            raise KeyError(f"bs {bs} in {mode.name} was not captured (captured: {captured}); call capture({bs}, ...)")
        return strategy

    def _find(self, batch: ReplayBatch, mode: ForwardMode) -> Strategy:
        if not isinstance(batch, ReplayBatch):
            raise TypeError(f"batch must be a ReplayBatch, got {batch!r}")
        lengths = batch.seq_lens
        if not isinstance(lengths, torch.Tensor):
            raise TypeError(f"seq_lens must be a tensor, got {lengths!r}")
        if lengths.is_nested or lengths.dim() != 1:
            require_memory("seq_lens", lengths)  # a nested tensor has no shape to tell
            raise ValueError(f"seq_lens must have one dimension [bs], got shape {list(lengths.shape)}")
        return self._of(_key(lengths.shape[0], mode))

    def _validated(self, batch: ReplayBatch, mode: ForwardMode, read_values: bool) -> tuple[Strategy, Extent | None]:
        """The strategy that serves this batch, and the batch's extent where the strategy has to know it."""
        strategy = self._find(batch, mode)
        c = strategy.captured
        c.require_in_place()
        extent = validate(
            c.config,
            c.req_to_token,
            batch,
            c.mode,
            width=c.width,
            num_steps=self.num_steps,
            read_values=read_values,
            need_extent=not strategy.capture_safe,
        )
        inputs = batch.read_in(c.mode)
        strategy.require(inputs)
        c.require_outside(inputs)
        return strategy, extent

    def _remember(self, strategy: Strategy, batch: ReplayBatch, mode: ForwardMode) -> _Known:
        if len(self._known) >= _MOST_KNOWN:
            self._known.clear()
        known = self._known[mode, places(batch.read_in(mode))] = strategy, strategy.replay_of(batch)
        return known

    def _known_tensors(self, batch: ReplayBatch, mode: ForwardMode) -> _Known | None:
        """What replays these very tensors, where they were checked before and nothing else would be again."""
        if not self._remembers or type(batch) is not ReplayBatch or batch.mirrored:
            return None
        try:
            return self._known.get((mode, places(batch.read_in(mode))))
        except (AttributeError, RuntimeError, TypeError):  # no mode or no plain tensors: `validate` says so
            return None

    def _attach(self, key: _Key, sets: list[NSAMetadata], inputs: ReplayBatch | None) -> None:
        bs, mode = key
        require_separate(self.config, self.req_to_token, mode, sets, inputs)
        captured = Captured(self.config, self.req_to_token, mode, bs, sets, inputs)
        strategy = self._strategy_class(captured)  # may refuse
        for one_set in {id(s): s for s in sets}.values():
            _write_constants(self.config, one_set, bs * self.config.rows_per_request(mode))
        self._strategies[key] = strategy

    def _check_recordable(self, bs: int, mode: ForwardMode, inputs: ReplayBatch) -> None:
        if not self._strategy_class.records_inputs:
            raise ValueError(
                f"inputs were given, but strategy {self.strategy!r} records none: it reads every batch "
                "where it is; leave them out, or use 'graph'"
            )
        width = self.req_to_token.shape[1]
        validate(self.config, self.req_to_token, inputs, mode, width=width, read_values=False, need_extent=False)
        if inputs.bs != bs:
            raise ValueError(f"inputs.seq_lens has {inputs.bs} requests, but bs is {bs}")


_BUSY = (
    "this backend is in use by another thread, or by the call that led here; replay from one thread at a time, "
    "or give each thread a backend of its own"
)


def _none_or_given(inputs: Sequence[object]) -> str:
    return "given" if len(inputs) == len(INPUTS) else "None"


def _torn_note(strategy: Strategy) -> str:
    first, last, c = strategy.torn[0], strategy.torn[-1], strategy.captured
    steps = f"step {first}" if first == last else f"steps {first}..{last}"
    return f"{steps} of bs {c.bs} in {c.mode.name} may be torn; replay again before a graph reads them"


def _key(bs: int, mode: ForwardMode) -> _Key:
    require_int("bs", bs, 1)
    return bs, require_mode(mode).captured_as


@torch.inference_mode()  # an engine may have made its buffers under it, and they are then written under it only
def _write_constants(config: NSAConfig, captured: NSAMetadata, cap: int) -> None:
    """What a replay never writes again."""
    captured.cu_seqlens_k[:1].zero_()
    captured.nsa_cu_seqlens_k[:1].zero_()
    if captured.flashmla_metadata is not None:
        # Sparse: a function of (rows, topk, parts), fixed by the capture, so this is the only time it is computed.
        # Dense: a valid schedule to capture the graph with; every replay brings its own.
        rows = captured.nsa_cache_seqlens_int32[:cap]
        schedule = schedule_flashmla(rows, config.flashmla_num_sm_parts, config.index_topk)
        captured.flashmla_metadata.slice(slice(0, cap + 1)).copy_(schedule)
