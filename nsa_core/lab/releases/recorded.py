"""What was recorded of SGLang's releases: times beside this package's on their buffers, audits, stale schedules."""

import functools
import re
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass, replace

from ..bench.evidence import CHECKOUT_RESULTS, NotMeasured
from ..bench.recording import Row, read
from .fetch import is_here
from .table import RELEASES

GPUS = {"h200": "NVIDIA H200", "h100": "NVIDIA H100"}
TIMED = ("0.5.6.post2", "0.5.7", "0.5.10.post1", "0.5.23")  # a release for each design
CASES = {4: "record-4", 8: "record-8"}  # by draft steps: decode, 32 requests of 4,096 tokens
_AUDITS = CHECKOUT_RESULTS / "releases" / "audits-h100.txt"
_COMMAND = re.compile(r"\$ python -m nsa_core audit --release sglang==(\S+)(.*)")
_MODE = re.compile(r"(DECODE|TARGET_VERIFY|DRAFT_EXTEND), (\d+) backends")
_FINDING = re.compile(r"(not refreshed|steps differ|error swallowed|host synchronisation) +(\S+) +(\S+) ")


@functools.cache
def _rows(kind: str, gpu: str) -> list[Row]:
    return read(CHECKOUT_RESULTS / kind / f"{gpu}.jsonl")


def timed(version: str, steps: int, name: str | None = None, gpu: str = "h200") -> Row:
    """The row of a release's own refresh, or of the strategy `name` on its buffers in the same process."""
    release = f"sglang=={version}"
    case = f"{CASES[steps]} on {release}"
    for row in _rows("releases", gpu):
        if (row["case"], row["name"]) == (case, name or release):
            return row
    raise NotMeasured(f"{case}, {name or release} was not recorded on {gpu}")


def stale(requests: int, tokens: int, gpu: str = "h200") -> dict[str, float]:
    """DeepGEMM's kernel on the schedule of its lengths, and of 1: GPU time, and the busiest SM's splits."""
    case = f"stale-schedule-{requests}-x-{tokens}"
    fresh, kept = (row for row in _rows("stale", gpu) if row["case"] == case)
    return {
        "fresh_us": fresh["device_us"],
        "stale_us": kept["device_us"],
        "times": kept["device_us"] / fresh["device_us"],
        "busiest_fresh": fresh["busiest_fresh"],
        "busiest_stale": fresh["busiest_stale"],
    }


def conditions(kind: str = "releases", gpu: str = "h200") -> str:
    """GPU, host, versions, commit and day of a recording."""
    row = _rows(kind, gpu)[0]
    return (
        f"{row['machine']}, {row['cpu']}, driver {row['driver']}, torch {row['torch']}, triton {row['triton']}, "
        f"commit {row['commit'][:12]}, {row['date'][:10]}"
    )


@dataclass(frozen=True)
class Audited:
    """One audit. sets: captured sets refreshed by one call. findings: kind, field, steps, as a report prints them."""

    version: str
    flags: str
    mode: str
    sets: int
    findings: tuple[tuple[str, str, str], ...]


@functools.cache
def audits() -> tuple[Audited, ...]:
    """The committed transcripts, from an H100."""
    return tuple(_parsed(_AUDITS.read_text(encoding="utf-8").splitlines()))


def audit(version: str, sets: int) -> Audited:
    """Audit a release's decode now where its files are on this machine; else what the committed audit found."""
    if not is_here(RELEASES[f"sglang=={version}"]):
        return next(a for a in audits() if (a.version, a.flags, a.mode, a.sets) == (version, "", "decode", sets))
    words = ["audit", "--release", f"sglang=={version}", "--mode", "decode", "--steps", str(sets)]
    done = subprocess.run([sys.executable, "-m", "nsa_core", *words], capture_output=True, text=True, check=False)
    if done.returncode not in (0, 1):
        raise RuntimeError(done.stderr.strip())
    return _parsed([f"$ python -m nsa_core {' '.join(words)}", *done.stdout.splitlines()])[0]


def _parsed(lines: Iterable[str]) -> list[Audited]:
    found: list[Audited] = []
    version = flags = ""
    for line in lines:
        if command := _COMMAND.match(line):
            version, flags = command[1], " ".join(re.findall(r"--flag (\S+)", command[2]))
        elif mode := _MODE.match(line):
            found.append(Audited(version, flags, mode[1].lower(), int(mode[2]), ()))
        elif finding := _FINDING.match(line):
            last = found.pop()
            found.append(replace(last, findings=(*last.findings, finding.groups())))
    return found
