"""What stays fixed between capture and the last replay, and which forward pass a replay prepares."""

from dataclasses import dataclass
from enum import Enum


class ForwardMode(Enum):
    """The forward passes whose CUDA graphs read replay metadata."""

    DECODE = "decode"
    IDLE = "idle"
    TARGET_VERIFY = "target_verify"
    DRAFT_EXTEND = "draft_extend"

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


_MOST_INT32 = 2**31 - 1
TABLES = ("page_table_1", "real_page_table")
_AT_LEAST_ONE = ("index_topk", "num_draft_tokens", "max_context_len")
_LARGEST_PAGE = 2**20  # kernels count the columns of many pages in int32


@dataclass(frozen=True)
class NSAConfig:
    """Static facts of the model and the engine; every default is visible here and nowhere else.

    page_size: tokens in a KV page, at most 2**20; `real_page_table` holds slot // page_size of each page's first
        token.
    index_topk: most tokens a sparse row attends to (2048 in DeepSeek-V3.2).
    num_draft_tokens: d, rows a request has in target verify and at most has in draft extend.
    max_context_len: the model's nominal context. It sizes no buffer: tables are as wide as `req_to_token`,
        because an engine over-allocates those columns (drafts run past the nominal context).
    flashmla_num_sm_parts: P of the FlashMLA scheduler; None leaves FlashMLA metadata out.
        Hopper, sparse fp8 decode, one KV head: max(1, (sm_count // 2) // ceil(h_q / 128)).
    flashmla_dense: schedule from the lengths (dense attention) instead of from `index_topk`. A dense schedule
        changes with every replay; the sparse one is fixed at capture.
    paged_mqa_num_sms: SMs of the DeepGEMM paged-MQA schedule the indexer needs; None leaves it out.
    tables: the page tables that a reader of the captured sets needs. A table that is left out is neither allocated
        nor written: attention that takes its slots from the top-k indices reads no `page_table_1`, and
        `real_page_table` alone is 1/page_size of the bytes.
    step_offset: step i attends to s + step_offset * (i + 1) tokens. 0: all steps equal, as in NSA/DSA.
        1: FlashAttention and TRT-LLM style.
    """

    page_size: int = 64
    index_topk: int = 2048
    num_draft_tokens: int = 4
    max_context_len: int = 131072
    flashmla_num_sm_parts: int | None = None
    flashmla_dense: bool = False
    paged_mqa_num_sms: int | None = None
    step_offset: int = 0
    tables: tuple[str, ...] = TABLES

    def __post_init__(self) -> None:
        if self.tables not in ((name,) for name in TABLES) and self.tables not in (TABLES, TABLES[::-1]):
            raise ValueError(f"tables must be a tuple of one or both of {', '.join(TABLES)}, got {self.tables!r}")
        require_int("page_size", self.page_size, 1, _LARGEST_PAGE)
        for name in _AT_LEAST_ONE:
            require_int(name, getattr(self, name), 1)
        require_int("step_offset", self.step_offset, 0)
        for name in ("flashmla_num_sm_parts", "paged_mqa_num_sms"):
            if getattr(self, name) is not None:
                require_int(name, getattr(self, name), 1)
        if self.flashmla_dense and self.flashmla_num_sm_parts is None:
            raise ValueError("flashmla_dense=True needs flashmla_num_sm_parts, which is None; set it to P >= 1")

    @property
    def flashmla_topk(self) -> int | None:
        """The `topk` FlashMLA schedules with: None when dense."""
        return None if self.flashmla_dense else self.index_topk

    def rows_per_request(self, mode: ForwardMode) -> int:
        """Captured rows of one request: 1 in decode, d in verify and extend."""
        return 1 if mode.is_decode_or_idle() else self.num_draft_tokens

    def length_growth(self, mode: ForwardMode, step: int) -> int:
        """Tokens step `step` attends to beyond `seq_lens`: the step's offset, and d more in target verify."""
        offset = self.step_offset * (step + 1)
        return offset + self.num_draft_tokens if mode.is_target_verify() else offset


def require_int(name: str, value: object, least: int, most: int = _MOST_INT32) -> None:
    """Raise TypeError unless `value` is an int (a bool is none), ValueError unless it lies in least .. most."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{name} must be an int, got {value!r}")
    if value < least:
        raise ValueError(f"{name} must be at least {least}, got {value}")
    if value > most:
        raise ValueError(f"{name} must be at most {most}, since cells and columns are counted in int32, got {value}")


def require_mode(mode: object) -> ForwardMode:
    if not isinstance(mode, ForwardMode):
        known = ", ".join(f"ForwardMode.{m.name}" for m in ForwardMode)
        raise TypeError(f"mode must be one of {known}, got {mode!r}")
    return mode
