"""Which kind of forward pass a replay prepares."""

from enum import Enum


class ForwardMode(Enum):
    """The forward passes whose CUDA graphs read replay metadata."""

    DECODE = "decode"
    IDLE = "idle"
    TARGET_VERIFY = "target_verify"
    DRAFT_EXTEND = "draft_extend"

    __hash__ = object.__hash__  # members are singletons; Enum's own hash is Python code in every replay

    def is_decode_or_idle(self) -> bool:
        return self in (ForwardMode.DECODE, ForwardMode.IDLE)

    def is_target_verify(self) -> bool:
        return self is ForwardMode.TARGET_VERIFY

    def is_draft_extend(self) -> bool:
        return self is ForwardMode.DRAFT_EXTEND

    @property
    def captured_as(self) -> "ForwardMode":
        """The mode whose captured set this one replays: an idle rank replays the decode graph."""
        return ForwardMode.DECODE if self is ForwardMode.IDLE else self


def require_mode(mode: object) -> ForwardMode:
    if not isinstance(mode, ForwardMode):
        known = ", ".join(f"ForwardMode.{m.name}" for m in ForwardMode)
        raise TypeError(f"mode must be one of {known}, got {mode!r}")
    return mode
