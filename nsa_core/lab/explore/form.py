"""What every form of live controls shares: words and a picture of it for viewers without widgets, quiet controls."""

import html
from collections.abc import Sequence

import ipywidgets as W

from .chart import static_bundle

FULL, WRAP = {"width": "98%"}, {"flex_flow": "row wrap", "width": "100%"}  # layouts


class StaticForm(W.VBox):
    """Live controls in a notebook; what they show now, everywhere else.

    controls: by name. Subclasses act on a change only while `_listening`, and lay out their `children`.
    """

    def __init__(self, controls: dict[str, W.ValueWidget]):
        super().__init__()
        self.controls, self.summary, self._listening = controls, "", True
        self.image = W.Image(format="png", layout=W.Layout(align_self="flex-start", max_width="100%"))
        self.text = W.HTML()

    def _set(self, values: dict[str, object], trait: str = "value") -> None:
        """Move controls without acting on it."""
        self._listening = False
        try:
            for name, value in values.items():
                setattr(self.controls[name], trait, value)
        finally:
            self._listening = True

    def _show_lines(self, lines: Sequence[str], png: bytes) -> None:
        paragraphs = "".join(f"<p>{html.escape(line)}</p>" for line in lines)
        self.text.value = f'<div role="status" style="line-height: 1.4">{paragraphs}</div>'
        self.summary, self.image.value = "\n".join(lines), png

    def _static(self) -> tuple[dict, dict]:
        return static_bundle(self.summary, self.image.value)

    def _repr_mimebundle_(self, **kwargs):
        data, metadata = self._static()
        return super()._repr_mimebundle_(**kwargs) | data, metadata
