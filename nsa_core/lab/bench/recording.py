"""Measurements on disk: JSON lines, appended and never replaced, readable after an interrupted run."""

import json
import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import Self

Row = dict[str, object]

_INTERRUPTED = {"kind": "note", "note": "an interrupted run left the line before this one"}


class BrokenRecording(ValueError):
    """A recording with a line that an interrupted run cannot explain."""


class Recording:
    """Appends rows to a file, each flushed to it before the next is measured. Use as a context manager."""

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)

    def __enter__(self) -> Self:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        on_fresh_line = _ends_with_newline(self.path)
        self._file = self.path.open("a", encoding="utf-8")
        if not on_fresh_line:
            self._file.write("\n")
            self.append([_INTERRUPTED])
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def append(self, rows: Iterable[Row]) -> None:
        for row in rows:
            self._file.write(json.dumps(row, allow_nan=False) + "\n")
            self._file.flush()


def read(path: Path | str) -> list[Row]:
    """The rows of a recording.

    Half a row at the end, left by an interrupted run, is left out with a warning; so is one that a later run found
    there and marked. Any other line that is no row raises BrokenRecording.
    """
    lines = [_parsed(line) for line in Path(path).read_text(encoding="utf-8").splitlines()]
    for at, row in enumerate(lines):
        if row is None and at + 1 < len(lines) and lines[at + 1] != _INTERRUPTED:
            raise BrokenRecording(f"{path}, line {at + 1} is no row and no interrupted run left it; restore the file")
        if row is None:
            warnings.warn(f"{path}, line {at + 1}: half a row of an interrupted run is left out", stacklevel=2)
    return [row for row in lines if row is not None and row != _INTERRUPTED]


def _parsed(line: str) -> Row | None:
    try:
        row = json.loads(line)
    except json.JSONDecodeError:
        return None
    return row if isinstance(row, dict) else None


def _ends_with_newline(path: Path) -> bool:
    if not path.exists() or path.stat().st_size == 0:
        return True
    with path.open("rb") as file:
        file.seek(-1, 2)
        return file.read(1) == b"\n"
