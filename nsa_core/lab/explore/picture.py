"""A drawn step together with its words, shown by any notebook viewer without widgets."""

import base64

from . import draw, words
from .observe import Observation


class Picture:
    """What an observed step looks like now. `lines`: what the replay did, and what the selected cell is."""

    def __init__(self, seen: Observation, step: int = 0, field: str = "page_table_1", row: int = 0, column: int = 0):
        self.lines = [words.summary(seen, step), words.describe(seen, step, field, row, column)]
        self.png = draw.png(draw.figure(seen, step, field, row, column))

    def _repr_mimebundle_(self, **_kwargs):
        text = "\n".join(self.lines)
        return {"text/plain": text, "image/png": base64.b64encode(self.png).decode()}, {"image/png": {"alt": text}}
