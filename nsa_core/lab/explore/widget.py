"""The explorer in a notebook: a session, shown by the front end; a picture and its words everywhere else."""

from collections.abc import Sequence

import anywidget
import traitlets
from IPython.display import display

from . import front
from .chart import static_bundle
from .page import explorer_values, front_metadata
from .picture import picture
from .session import REFUSALS, Session
from .setup import Batch, Setup
from .story import STORY, Roster
from .words import summary

STILL = "A picture of the explorer. In JupyterLab, run this cell and those above it:"
STILL += " then replays play, cells tell who wrote them, strategies compare."
VIEW = "application/vnd.jupyter.widget-view+json"


class Explorer(anywidget.AnyWidget):
    """See what a sequence of replays writes and leaves; front/README.md says what the traits hold.

    setup: what is captured. rosters: who is in each batch. recorded: batches of a trace instead.
    at: the replay that is shown first, from 0.
    """

    _esm, _css = front.module("explorer.js"), front.read("explorer.css")
    state = traitlets.Dict().tag(sync=True)
    at = traitlets.Int(0).tag(sync=True)
    busy = traitlets.Dict(default_value=None, allow_none=True).tag(sync=True)

    def __init__(
        self,
        setup: Setup = Session.setup,
        rosters: Sequence[Roster] = STORY,
        recorded: Sequence[Batch] = (),
        at: int = 0,
    ):
        self.session = Session(setup, rosters, recorded)
        super().__init__(state=self.session.state(), at=at)
        self.session.progress = self._progress
        self.on_msg(lambda _widget, intent, _buffers: self.ask(**intent))

    def ask(self, at: int | None = None, **intent) -> str:
        """Do what the front end asks for, e.g. ask(set="strategy", value="fused"); returns the refusal, if any."""
        refusal, session = None, self.session
        at = min(self.at if at is None else at, len(session.frames) - 1)
        try:
            match intent:
                case {"set": name, "value": value}:
                    session.set(name, value)
                case {"edit": name, **numbers}:
                    session.edit(at, name, **numbers)
                case {"finish": name}:
                    session.finish(at, name)
                case {"admit": length}:
                    session.admit(at, length)
                case {"reset": True}:
                    session.reset()
            at = at if "set" in intent else 0 if "reset" in intent else len(session.frames) - 1
        except REFUSALS as error:
            control = next((intent[key] for key in ("set", "edit", "finish") if key in intent), "admit")
            refusal = {"control": control, "text": str(error.args[0] if error.args else error)}
        with self.hold_sync():
            self.at, self.state, self.busy = min(at, len(session.frames) - 1), session.state(refusal), None
        return refusal["text"] if refusal else ""

    @property
    def scene(self) -> dict:
        """The replay that is shown."""
        return self.session.frames[self.at]

    @property
    def summary(self) -> str:
        return summary(self.scene)

    def _ipython_display_(self) -> None:
        """A picture first, for pages on which the rest stays empty; where the rest runs, it hides the picture."""
        data, about = static_bundle(self.summary, picture(self.scene, STILL))
        display(data, metadata=about | self._on_a_page(), raw=True)
        view, _ = super()._repr_mimebundle_()
        display({VIEW: view[VIEW]}, raw=True)

    def _on_a_page(self) -> dict:
        """For a page without a kernel, whose rules know no step offset."""
        view = self.session.view
        if view.setup.step_offset:
            return {}
        return front_metadata("explorer", explorer_values(view.setup, view.rosters, self.session.recorded, self.at))

    def _progress(self, done: int, total: int) -> None:
        self.busy = {"text": "The kernel runs interpreted on this CPU: replay", "done": done + 1, "total": total}
