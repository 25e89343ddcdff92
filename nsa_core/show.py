"""How objects look in a terminal and in a notebook: a line per tensor, its first values, no more than a screen."""

from collections.abc import Iterable, Sequence
from html import escape

import torch

_VALUES, _ROWS = 12, 6  # of a row, of a table
_CELL = 'style="text-align:left;padding:1px 10px"'

Line = tuple[str, str, str]  # name, shape, values


def line(name: str, value: object) -> Line:
    """A tensor's name, shape and first values. Values of a GPU tensor are read, as printing the tensor would."""
    if type(value) is not torch.Tensor:
        return name, "", f"{value!r}"
    readable = value.dim() in (1, 2) and not value.is_meta and (value.data_ptr() or not value.numel())
    return name, str(list(value.shape)), "\n".join(_rows(value)) if readable else f"on {value.device}"


def _rows(tensor: torch.Tensor) -> Iterable[str]:
    table = tensor if tensor.dim() > 1 else tensor.unsqueeze(0)
    for row in table[:_ROWS, :_VALUES].tolist():
        yield " ".join(map(str, row)) + (" ..." if table.shape[1] > _VALUES else "")
    if table.shape[0] > _ROWS:
        yield f"... {table.shape[0] - _ROWS} rows more"


def text(title: str, lines: Iterable[Line]) -> str:
    lines = list(lines)
    name_width, shape_width = (max((len(line[at]) for line in lines), default=0) for at in (0, 1))
    indent = "\n" + " " * (name_width + shape_width + 6)
    shown = [f"  {n:{name_width}}  {s:{shape_width}}  {v.replace(chr(10), indent)}".rstrip() for n, s, v in lines]
    return "\n".join([title, *shown])


def html(title: str, lines: Iterable[Sequence[str]], header: Sequence[str] = ()) -> str:
    head = "".join(f"<th {_CELL}>{escape(name)}</th>" for name in header)
    rows = ("".join(f"<td {_CELL}>{_broken(cell)}</td>" for cell in line) for line in lines)
    body = "".join(f"<tr>{row}</tr>" for row in rows)
    return f"<p>{_broken(title)}</p><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _broken(cell: str) -> str:
    return escape(cell).replace("\n", "<br>")
