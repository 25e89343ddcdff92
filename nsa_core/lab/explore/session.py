"""What the explorer shows, and what becomes of it when a reader asks for something else. No widget in here."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from ... import ForwardMode, strategies
from ...config import TABLES
from ...strategies import StrategyInfo
from .observe import Observation, one_thread
from .scene import everybody, scene
from .setup import Batch, Setup
from .story import STORY, Request, Roster, batches, told

REFUSALS = (KeyError, RuntimeError, TypeError, ValueError)  # what the package raises for what it cannot do
MODES = {  # value: (label, what it changes in a setup)
    "decode": ("decode", {"mode": ForwardMode.DECODE, "fixed_width": False}),
    "target_verify": ("target verify", {"mode": ForwardMode.TARGET_VERIFY, "fixed_width": False}),
    "draft_extend": ("draft extend, ragged", {"mode": ForwardMode.DRAFT_EXTEND, "fixed_width": False}),
    "draft_extend_fixed": ("draft extend, d rows", {"mode": ForwardMode.DRAFT_EXTEND, "fixed_width": True}),
}
TABLE_CHOICES = {"both": TABLES, **{name: (name,) for name in TABLES}}
SHOWN = ("eager", "copy", "foreach", "shared", "fused", "shared+fused", "graph", "shared+graph")
RECORDED = "These are batches of a recorded trace; the trace fixes this"
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class View:
    """Everything a reader can change. compare: "" or "before", "step:1", "strategy:eager", "tables:both"."""

    setup: Setup
    rosters: tuple[Roster, ...]
    draft_step: int = 0
    compare: str = ""

    def other(self) -> "View | None":
        """What is shown beside it, where that has frames of its own."""
        kind, _, value = self.compare.partition(":")
        changes = {
            "strategy": lambda: {"setup": replace(self.setup, strategy=value)},
            "tables": lambda: {"setup": replace(self.setup, tables=TABLE_CHOICES[value])},
            "step": lambda: {"draft_step": int(value)},
        }
        return replace(self, compare="", **changes[kind]()) if kind in changes else None


@dataclass
class Session:
    """A view, its frames (a scene for each replay), and the way to others. A refused wish leaves all as it was.

    recorded: batches of a trace, shown instead of the rosters' own. view: what is shown first.
    """

    setup: Setup = Setup(bs=4, draft_tokens=3)
    rosters: Sequence[Roster] = STORY
    recorded: Sequence[Batch] = ()
    progress: Progress = lambda done, total: None
    view: View | None = None
    _made: dict = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        self.story, self._known = tuple(self.rosters), strategies(self.setup.device)
        self._show(self.view or View(self.setup, self.story))

    # What a reader may ask for

    def set(self, name: str, value: str) -> None:
        """Move a control."""
        setup = self.view.setup
        wanted = {
            "mode": lambda: {"setup": replace(setup, **MODES[value][1])},
            "strategy": lambda: {"setup": replace(setup, strategy=value)},
            "tables": lambda: {"setup": replace(setup, tables=TABLE_CHOICES[value])},
            "page_size": lambda: {"setup": replace(setup, page_size=int(value))},
            "draft_step": lambda: {"draft_step": int(value)},
            "compare": lambda: {"compare": value},
        }
        self._show(replace(self.view, **wanted[name]()))

    def edit(self, at: int, name: str, length: int | None = None, accepted: int | None = None) -> None:
        """One more batch behind frame `at`, in which request `name` is another one; later frames are dropped."""
        for what, number in (("length", length), ("accepted", accepted)):
            if number is not None and not isinstance(number, int):
                raise ValueError(f"the {what} of request {name} must be a whole number")
        old = self._request(at, name)
        new = replace(old, length=old.length if length is None else length)
        if accepted is not None:
            new = replace(new, accepted=accepted)
        self._append(at, tuple(new if request is old else request for request in self.view.rosters[at]))

    def finish(self, at: int, name: str) -> None:
        gone = self._request(at, name)
        self._append(at, tuple(request for request in self.view.rosters[at] if request is not gone))

    def admit(self, at: int, length: int) -> None:
        if self.recorded:
            raise ValueError(RECORDED)
        used = {request.name for roster in self.view.rosters[: at + 1] for request in roster}
        name = next(chr(code) for code in range(ord("A"), 0x110000) if chr(code) not in used)
        self._append(at, (*self.view.rosters[at], Request(name, length)))

    def reset(self) -> None:
        self._show(replace(self.view, rosters=self.story))

    def _request(self, at: int, name: str) -> Request:
        if self.recorded:
            raise ValueError(RECORDED)
        for request in self.view.rosters[at]:
            if request.name == name:
                return request
        raise ValueError(f"no request {name} is in the batch of replay {at + 1}")

    def _append(self, at: int, roster: Roster) -> None:
        self._show(replace(self.view, rosters=(*self.view.rosters[: at + 1], roster)))

    # What is shown

    def _show(self, view: View) -> None:
        if view.other() == replace(view, compare=""):
            view = replace(view, compare="")
        frames, other = self._frames(view), view.other()
        others = self._frames(other) if other else []
        if view.compare == "before":
            others = frames[:1] + frames[:-1]
        self.view, self.frames, self.others = view, frames, others

    @one_thread()
    def _frames(self, view: View) -> list[dict]:
        """A scene for each replay. What an earlier view has observed is not replayed again."""
        key = (view.setup, view.draft_step)
        rosters, observation, frames = self._made.get(key, ((), None, []))
        if observation is None or view.rosters[: len(rosters)] != rosters:
            observation, frames = None, []
            if view.rosters == rosters[: len(view.rosters)]:
                return self._made[key][2][: len(view.rosters)]
        given = list(self.recorded) or batches(view.rosters, view.setup)
        observation = observation or Observation(view.setup)
        people, notes = everybody(given), self._notes(view, len(given))
        slow = self._known[view.setup.strategy].needs_triton
        for at in range(len(frames), len(given)):
            if slow:
                self.progress(at, len(given))
            observation.replay(given[at])
            frames = [*frames, scene(observation, view.draft_step, people, notes[at])]
        self._made[key] = (view.rosters, observation, frames)
        return frames

    def _notes(self, view: View, count: int) -> list[str]:
        if self.recorded:
            return [f"{len(batch.lengths)} requests of a recorded trace." for batch in self.recorded]
        return [told(view.rosters[at - 1] if at else (), view.rosters[at]) for at in range(count)]

    def state(self, refusal: dict | None = None) -> dict:
        """All that the front end shows, `front/README.md` says how."""
        view, recorded = self.view, RECORDED if self.recorded else None
        return {
            "frames": self.frames,
            "others": self.others,
            "compared": self._compared(),
            "controls": controls(view, self._known, bool(self.recorded)),
            "edit": {
                "why": recorded,
                "long": bool(self.recorded),
                "most": view.setup.bs,
                "changed": view.rosters != self.story,
            },
            "refusal": refusal,
        }

    def _compared(self) -> list[str] | None:
        kind, _, value = self.view.compare.partition(":")
        setup = self.view.setup
        match kind:
            case "before":
                return ["This replay", "The replay before"]
            case "step":
                return [f"Draft step {self.view.draft_step}", f"Draft step {value}"]
            case "strategy":
                return [f"{name}: {self._known[name].contract}" for name in (setup.strategy, value)]
            case "tables":
                return [f"Captured: {_table_label(name)}" for name in (_key(TABLE_CHOICES, setup.tables), value)]
        return None


def controls(view: View, known: dict[str, StrategyInfo], recorded: bool) -> list[dict]:
    """What a reader can move. known: the strategies. recorded: whether a trace fixes the mode and the pages."""
    setup, fixed = view.setup, RECORDED if recorded else None
    mode = next(k for k, (_, w) in MODES.items() if all(getattr(setup, n) == v for n, v in w.items()))
    shown = [(name, info) for name, info in known.items() if name in SHOWN]
    named = [_option(name, f"{name} ({info.contract})", info.reason) for name, info in shown]
    tables, steps = [_option(name, _table_label(name)) for name in TABLE_CHOICES], range(setup.steps)
    sizes = [_option(str(size), str(size)) for size in sorted({1, 2, 4, 8, setup.page_size})]
    one = "The strategy keeps one captured step" if setup.steps == 1 else None
    current = {"strategy": setup.strategy, "tables": _key(TABLE_CHOICES, setup.tables), "step": view.draft_step}
    beside = [_option("", "nothing"), _option("before", "the replay before")]
    for kind, group, options in (
        ("strategy", "another strategy", named),
        ("tables", "other tables", tables),
        ("step", "another draft step", [_option(str(i), f"draft step {i}") for i in steps]),
    ):
        others = [o for o in options if o["value"] != str(current[kind])]
        beside += [o | {"value": f"{kind}:{o['value']}", "group": group} for o in others]
    extend = [_option(name, label) for name, (label, _) in MODES.items()]
    return [
        _control("mode", "Forward mode", mode, extend, fixed),
        _control("strategy", "Strategy (contract)", setup.strategy, named),
        _control("tables", "Captured tables", current["tables"], tables),
        _control("page_size", "Page size", str(setup.page_size), sizes, fixed),
        _control("draft_step", "Draft step", str(view.draft_step), [_option(str(i), str(i)) for i in steps], one),
        _control("compare", "Compare with", view.compare, beside),
    ]


def _key(choices: dict, value: object) -> str:
    return next(name for name, choice in choices.items() if choice == value)


def _table_label(name: str) -> str:
    return "both" if name == "both" else f"{name} only"


def _option(value: str, label: str, why: str | None = None) -> dict:
    return {"value": value, "label": label, "why": why}


def _control(name: str, label: str, value: str, options: list[dict], why: str | None = None) -> dict:
    return {"name": name, "label": label, "value": value, "options": options, "why": why}
