"""The explorer: controls, the picture of a step, and in words what the last replay did."""

import html
from collections.abc import Callable
from dataclasses import replace

import ipywidgets as W

from ... import ForwardMode, strategies
from .draw import Picture
from .form import FULL, WRAP, StaticForm
from .observe import FIELDS, Observation
from .setup import Batch, Setup
from .trace_batches import scale_model

REFUSALS = (KeyError, RuntimeError, TypeError, ValueError)  # what the package raises for what it cannot do
REPEATED = 3  # replays repeated under another strategy
SIZES = {"topk": "topk", "draft_tokens": "draft tokens d", "steps": "steps N", "step_offset": "step offset"}
CAPTURE = ("mode", "strategy", "page_size", *SIZES)
BATCH = ("requests", "lengths", "accepts")
LOOK = ("step", "field", "row", "column")


class Explorer(StaticForm):
    """Live controls in a notebook; a static picture and its words everywhere else.

    setup: what is captured first. lengths, accepts: the batch, one number per captured request, of which the control
    `requests` takes the first. before: lengths of a first replay, so that something can be stale.

    A change of the batch is one more replay into the same captured sets. Another mode or size captures new sets.
    Another strategy captures new sets too and repeats the last replays, so that the two can be compared.
    """

    def __init__(self, setup: Setup, lengths: tuple[int, ...], accepts: tuple[int, ...] = (), *, before=()):
        accepts = accepts or (1,) * setup.bs
        super().__init__(_controls(setup, lengths, accepts))
        self.buttons = {"next": _button("Replay next trace step"), "shrink": _button("Shrink the batch")}
        self.error, self.refusal = W.HTML(), ""
        self.setup, self.observation, self._trace = setup, Observation(setup), None
        if before:
            self.observation.replay(Batch(tuple(before), tuple(accepts)))
        self.observation.replay(self._batch())
        self._show()
        self._listen()
        self.children = [self._panel(), self.error, self.image, self.text]

    def next_trace_step(self, _button: W.Button | None = None) -> None:
        """Replay the trace's next batch, in a scale model that fits this table, and show it in the controls."""
        self._try(self._next)

    def shrink(self, _button: W.Button | None = None) -> None:
        """Replay the first half of the requests; the captured size stays, so the rest is padded."""
        self.controls["requests"].value = max(1, self.controls["requests"].value // 2)

    def _replay(self) -> None:
        """Bring the observation to what the controls ask for, or leave it as it is and raise."""
        asked, batch, observation = self._asked(), self._batch(), self.observation
        if asked != self.setup:
            other_strategy = replace(self.setup, strategy=asked.strategy) == asked
            history = observation.batches[-REPEATED:] if other_strategy else []
            observation = Observation(asked)
            for earlier in history:
                observation.replay(earlier)
        if not (observation.batches and _same_batch(observation.batches[-1], batch)):
            observation.replay(batch)
        if observation is not self.observation:
            self.setup, self.observation, self._trace = asked, observation, None

    def _next(self) -> None:
        if self._asked() != self.setup:
            return self._replay()
        self._trace = self._trace or scale_model(self.setup)
        batch = next(self._trace, None) or next(scale_model(self.setup))  # the trace ended: start over
        self.observation.replay(batch)
        self._set({"requests": len(batch.lengths), "lengths": _joined(batch.lengths, self.setup.bs)})
        if batch.accepts:
            self._set({"accepts": _joined(batch.accepts, self.setup.bs)})

    def _asked(self) -> Setup:
        asked = {name: self.controls[name].value for name in CAPTURE}
        return replace(self.setup, **asked | {"mode": ForwardMode(asked["mode"])})

    def _batch(self) -> Batch:
        names, requests = ("lengths", "accepts"), self.controls["requests"].value
        return Batch(*(_numbers(self.controls[name], self.setup.bs)[:requests] for name in names))

    def _listen(self) -> None:
        for name, control in self.controls.items():
            action = self._fit_ranges if name in LOOK else self._replay
            control.observe(lambda _change, action=action: self._try(action), "value")
        self.buttons["next"].on_click(self.next_trace_step)
        self.buttons["shrink"].on_click(self.shrink)

    def _try(self, action: Callable[[], None]) -> None:
        """Do it and show the result. A refusal is shown in the page; the buffers are then as they were."""
        if not self._listening:
            return
        try:
            action()
            self.refusal = ""
        except REFUSALS as error:
            self.refusal = f"{type(error).__name__}: {error}"
        self._show()

    def _show(self) -> None:
        self._fit_ranges()
        at = {name: self.controls[name].value for name in LOOK}
        refused = f"Refused, and nothing was written. {self.refusal}" if self.refusal else ""
        picture = Picture(self.observation, **at)
        self._show_lines(picture.lines, picture.png)
        self.summary = "\n".join(filter(None, [refused, *picture.lines]))
        self.error.value = refused and f'<p role="alert"><b>{html.escape(refused)}</b></p>'

    def _fit_ranges(self) -> None:
        shape = self.observation.sets[0].tensors()[self.controls["field"].value].shape
        column = shape[1] - 1 if len(shape) == 2 else 0
        self._set({"step": self.setup.steps - 1, "row": shape[0] - 1, "column": column}, "max")

    def _panel(self) -> W.HBox:
        columns = {"The batch": (265, BATCH), "The capture": (240, CAPTURE), "Look at": (240, LOOK)}  # pixels
        boxes = []
        for title, (width, names) in columns.items():
            layout = {"flex": f"{width} 1 {width}px", "min_width": f"{width}px"}  # side by side on a screen of 1280
            controls = [self.controls[name] for name in names] + [*self.buttons.values()] * (names is BATCH)
            boxes.append(W.VBox([W.HTML(f"<b>{title}</b>"), *controls], layout=layout))
        return W.HBox(boxes, layout=WRAP)


def _controls(setup: Setup, lengths: tuple[int, ...], accepts: tuple[int, ...]) -> dict[str, W.ValueWidget]:
    ranges = {"topk": (1, setup.width), "draft_tokens": (1, 6), "steps": (1, 6), "step_offset": (0, 2)}
    sizes = {name: _slider(label, getattr(setup, name), *ranges[name]) for name, label in SIZES.items()}
    modes = [(mode.value.replace("_", " "), mode.value) for mode in ForwardMode]
    known = [(f"{strategy.name} ({strategy.contract})", strategy.name) for strategy in strategies().values()]
    return {
        "requests": _slider("requests", len(lengths), 1, setup.bs),
        "lengths": _text("lengths", _joined(lengths, setup.bs), "tokens of each request"),
        "accepts": _text("accept lengths", _joined(accepts, setup.bs), "read in draft extend only"),
        "mode": _choice("forward mode", modes, setup.mode.value),
        "strategy": _choice("strategy", known, setup.strategy),
        "page_size": _choice("page size", sorted({1, 2, 4, 8, setup.page_size}), setup.page_size),
        **sizes,
        "step": _slider("step", 0, 0, setup.steps - 1),
        "field": _choice("field", FIELDS, "page_table_1"),
        "row": _slider("row or index", 0, 0, setup.rows - 1),
        "column": _slider("column", 0, 0, setup.width - 1),
    }


def _same_batch(one: Batch, other: Batch) -> bool:
    """Equal numbers; a trace's batch of a mode without accept lengths matches any."""
    return one.lengths == other.lengths and (one.accepts or other.accepts) == other.accepts


STYLE = {"description_width": "98px"}


def _slider(label: str, value: int, least: int, most: int) -> W.IntSlider:
    return W.IntSlider(value, least, most, continuous_update=False, description=label, style=STYLE, layout=FULL)


def _choice(label: str, options: list, value: object) -> W.Dropdown:
    return W.Dropdown(options=options, value=value, description=label, style=STYLE, layout=FULL)


def _text(label: str, value: str, tooltip: str) -> W.Text:
    options = {"continuous_update": False, "style": STYLE, "layout": FULL}
    return W.Text(value, description=label, tooltip=tooltip, **options)


def _button(label: str) -> W.Button:
    return W.Button(description=label, tooltip=label, layout=FULL)


def _joined(numbers: tuple[int, ...], size: int) -> str:
    """As many numbers as there are captured requests; a batch that is smaller continues with ones."""
    return ", ".join(map(str, numbers + (1,) * (size - len(numbers))))


def _numbers(control: W.Text, size: int) -> tuple[int, ...]:
    name, parts = control.description, control.value.replace(",", " ").split()
    wrong = [part for part in parts if not part.removeprefix("-").isdigit()]
    if wrong:
        raise ValueError(f"{name} has {wrong[0]!r}, which is no whole number; separate whole numbers by commas")
    if len(parts) != size:
        raise ValueError(f"{name} has {len(parts)} numbers; give one for each of the {size} captured requests")
    return tuple(map(int, parts))
