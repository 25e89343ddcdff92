"""Measurements on disk: JSON lines, appended and never replaced, readable after an interrupted run."""

import json
import math
import re
import warnings
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Self

Row = dict[str, object]

MEASURED = re.compile(r".*_us(_q[13]|_min|_max)?|gb_per_s")  # columns of measurements
ROUNDS = "_rounds"  # ends a column that lists a measurement's rounds
_DIFFERENCE = "exposed_"  # of two times: may be 0 or below
_INTERRUPTED = {"kind": "note", "note": "an interrupted run left the line before this one"}


class BrokenRecording(ValueError):
    """A file that is no recording, or one with a line that the bench did not write."""


class Recording:
    """Appends rows to a file, each flushed to it before the next is measured. Use as a context manager.

    conditions: what all rows of the run have in common; written once, in a row of kind "run".
    """

    def __init__(self, path: Path | str, conditions: Row | None = None) -> None:
        self.path, self.conditions = Path(path), dict(conditions or {})  # a copy: what changes later is said by rows

    def __enter__(self) -> Self:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        on_fresh_line = _ends_with_newline(self.path)
        self._file = self.path.open("a", encoding="utf-8")
        if not on_fresh_line:
            self._file.write("\n")
            self._write(_INTERRUPTED)
        if self.conditions:
            self._write({"kind": "run"} | self.conditions)
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(OSError):  # append flushed or raised; closing would only raise the same once more
            self._file.close()

    def append(self, rows: Iterable[Row]) -> None:
        for row in rows:
            self._write({k: v for k, v in row.items() if k == "run" or self.conditions.get(k, self) != v})

    def _write(self, row: Row) -> None:
        line = json.dumps(row, allow_nan=False) + "\n"
        try:
            self._file.write(line)
            self._file.flush()
        except OSError as error:
            raise OSError(error.errno, error.strerror, str(self.path)) from error


def read(path: Path | str) -> list[Row]:
    """The rows of a recording, at least one, each with the conditions of its run.

    Half a row at the end, left by an interrupted run, is left out with a warning; so is one that a later run found
    there and marked. BrokenRecording names any other line that is no row, and a measurement that is none: times,
    their quartiles and bandwidths are finite numbers above 0; a difference of times may be any finite number.
    """
    rows = [_parsed(line, f"{path}, line {number}") for number, line in enumerate(_lines(path), 1)]
    for number, row in enumerate(rows, 1):
        if row is None and number < len(rows) and rows[number] != _INTERRUPTED:
            raise BrokenRecording(f"{path}, line {number} is no row and no interrupted run left it; restore the file")
    complete = _with_conditions(row for row in rows if row is not None and row != _INTERRUPTED)
    if not complete:
        raise BrokenRecording(f"{path} has no rows; record some: python -m nsa_core bench --record FILE")
    for number, row in enumerate(rows, 1):
        if row is None:
            warnings.warn(f"{path}, line {number}: half a row of an interrupted run is left out", stacklevel=2)
    return complete


def _with_conditions(rows: Iterable[Row]) -> list[Row]:
    """Rows of measurements, each with what the row that began its run says; older rows say it themselves."""
    complete, begun = [], {}
    for row in rows:
        if row.get("kind") == "run":
            begun[row.get("run")] = row
        else:
            complete.append(begun.get(row.get("run"), {}) | row)
    return complete


def _lines(path: Path | str) -> list[str]:
    try:
        return Path(path).read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise BrokenRecording(f"{path} is no recording: byte {error.start} is not UTF-8 text") from error


def _parsed(line: str, where: str) -> Row | None:
    """The row of a line; None when there is none in it."""
    try:
        row = json.loads(line)
    except json.JSONDecodeError:
        return None
    except (RecursionError, ValueError) as error:  # nested too deeply, or an integer of thousands of digits
        raise BrokenRecording(f"{where} is no row: {error}; restore the file") from error
    if not isinstance(row, dict):
        return None
    for column, value in row.items():
        if not _possible(column, value):
            must = "a finite number, for a time or a bandwidth above 0"
            raise BrokenRecording(f"{where}: {column} is {value!r}, must be {must}; restore the file")
    return row


def _possible(column: str, value: object) -> bool:
    if column.endswith(ROUNDS) and isinstance(value, list):
        return all(_possible(column.removesuffix(ROUNDS), one) for one in value)
    if not MEASURED.fullmatch(column):
        return not isinstance(value, float) or math.isfinite(value)
    if value is None:  # not measured; a quartile exists only beside its median
        return not column.endswith(("_q1", "_q3", "_min", "_max"))
    least = -math.inf if column.startswith(_DIFFERENCE) else 0
    return type(value) in (int, float) and least < value < math.inf


def _ends_with_newline(path: Path) -> bool:
    if not path.exists() or path.stat().st_size == 0:
        return True
    with path.open("rb") as file:
        file.seek(-1, 2)
        return file.read(1) == b"\n"
