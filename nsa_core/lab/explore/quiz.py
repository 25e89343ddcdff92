"""Questions that a reader answers before the page does: predict what a replay does, or repair a refresh."""

import os
from collections.abc import Callable, Mapping, Sequence
from html import escape
from pathlib import Path

import anywidget
import traitlets

from ...audit.report import AuditReport
from .page import STILL, front_metadata

_FRONT = Path(__file__).parent / "front"
_MOVES = "In JupyterLab, run this cell: you can then choose an answer and are told why."


class Quiz(anywidget.AnyWidget):
    """A question with options. `text/plain` and `text/html` are the page without a kernel, the answer folded away."""

    _esm = _FRONT / "quiz.js"
    _css = _FRONT / "quiz.css"
    question = traitlets.Unicode().tag(sync=True)
    code = traitlets.Unicode().tag(sync=True)
    options = traitlets.List().tag(sync=True)
    chosen = traitlets.Int(-1).tag(sync=True)

    def _repr_mimebundle_(self, **kwargs: object) -> tuple[dict, dict]:
        live = {} if os.environ.get(STILL) else super()._repr_mimebundle_(**kwargs)[0]
        data = live | {"text/plain": self._plain(), "text/html": self._html()}
        model = {"question": self.question, "code": self.code, "options": self.options, "chosen": -1}
        return data, front_metadata("quiz", model)

    def _right(self) -> dict:
        return next(option for option in self.options if option["right"])

    def _plain(self) -> str:
        lines = [self.question, *filter(None, [self.code]), *(f"  ( ) {option['text']}" for option in self.options)]
        return "\n".join([*lines, f"Answer: {self._right()['text']}, because {self._right()['because']}"])

    def _html(self) -> str:
        code = f"<pre>{escape(self.code)}</pre>" if self.code else ""
        options = "".join(f"<li>{_marked(option['text'], self.code)}</li>" for option in self.options)
        answer = f"{_marked(self._right()['text'], self.code)}: {_marked(self._right()['because'])}"
        folded = f"<details><summary>Answer</summary><p>{answer}</p></details>"
        return f"<p><b>{_marked(self.question)}</b></p>{code}<ul>{options}</ul>{folded}<p><i>{_MOVES}</i></p>"


def _marked(text: str, is_code: object = "") -> str:
    if is_code:
        return f"<code>{escape(text)}</code>"
    parts = escape(text).split("`")
    return "".join(f"<code>{part}</code>" if at % 2 else part for at, part in enumerate(parts))


def ask(question: str, options: Mapping[str, str], right: object) -> Quiz:
    """Predict, then see.

    options: what can be chosen, and of each the sentence that follows "Right, because" or is a hint.
    right: the option that is right, computed by the caller; ValueError when no option is, so a wrong key is seen.
    """
    if str(right) not in options:
        raise ValueError(f"right is {right!r}, which is none of the options {', '.join(map(repr, options))}")
    listed = [{"text": text, "right": text == str(right), "because": because} for text, because in options.items()]
    return Quiz(question=question, options=listed)


def repair(question: str, code: str, lines: Sequence[str], judge: Callable[[str], AuditReport]) -> Quiz:
    """Choose the line that repairs a refresh.

    code: a program whose line `...` is missing. lines: what can stand there.
    judge: gets the program with a line in place and audits the refresh it defines. Exactly one line may pass.
    """
    options = [_judged(line, judge(code.replace("...", line))) for line in lines]
    if sum(option["right"] for option in options) != 1:
        passing = [option["text"] for option in options if option["right"]]
        raise ValueError(f"{len(passing)} of {len(lines)} lines pass the audit ({passing}); exactly one has to")
    return Quiz(question=question, code=code, options=options)


def _judged(line: str, report: AuditReport) -> dict:
    if report.ok:
        return {"text": line, "right": True, "because": f"the audit finds no wrong cell in {report.batches} batches."}
    finding = report.findings[0]
    lengths = "" if finding.batch is None else f", with lengths {finding.batch.seq_lens.tolist()}"
    return {"text": line, "right": False, "because": f"{finding.message}{lengths}."}
