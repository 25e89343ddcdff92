"""A few batches in which the worst happens, and an engine just large enough to give their requests pages."""

from collections.abc import Sequence
from dataclasses import dataclass

from ..trace import PagePool
from .setup import Batch, Setup, require_captured


@dataclass(frozen=True)
class Request:
    """A request as a batch sees it: its tokens, of which `accepted` came with the last verification."""

    name: str
    length: int
    accepted: int = 1


Roster = tuple[Request, ...]  # who is in the batch, in the order of its rows


def roster(lengths: Sequence[int], accepted: Sequence[int] = ()) -> Roster:
    """Requests A, B, ... of these lengths; accepted: 1 each unless given."""
    news = (*accepted, *(1,) * len(lengths))
    return tuple(Request(chr(ord("A") + at), *numbers) for at, numbers in enumerate(zip(lengths, news, strict=False)))


def _read(text: str) -> Roster:
    """Read 'A9+2 B18': request A has 9 tokens, 2 of which were just accepted; B has 18, one of them new."""
    parts = [(part[0], *part[1:].partition("+")) for part in text.split()]
    return tuple(Request(name, int(length), int(new or 1)) for name, length, _, new in parts)


# B, the longest, finishes: the rows below move up by one, and what is left behind their lengths is somebody else's.
STORY = tuple(map(_read, ("A9+2 B18 C5 D12", "A11+2 B20+2 C8+3 D13", "A12 C10+2 D16+3 E4", "A14+2 C12+2 E6+2")))
STORY += tuple(map(_read, ("A15 C13 E9+3 F20+2", "C15+2 E10 F21", "C16 E13+3")))


def batches(rosters: Sequence[Roster], setup: Setup) -> list[Batch]:
    """What an engine hands over for these rosters: pool rows and pages are reused as requests come and go."""
    growth = setup.config.length_growth(setup.mode, setup.steps - 1)  # refuses sizes that are none
    pool, rows, given = PagePool(setup.bs + 1, setup.width, setup.page_size, None, "cpu"), {}, []
    pool.reset(seed=1)
    for roster in rosters:
        require_captured(len(roster), setup)
        for name in sorted(rows.keys() - {request.name for request in roster}):
            pool.release(rows.pop(name))
        for request in roster:
            if request.name not in rows:
                rows[request.name] = min(set(range(1, setup.bs + 1)) - set(rows.values()))
                pool.promise(rows[request.name], pool.pages_for(setup.width))
            pool.grow(rows[request.name], min(max(request.length + growth, 0), setup.width))
        lengths, accepts = tuple(r.length for r in roster), tuple(r.accepted for r in roster)
        names = tuple(request.name for request in roster)
        given.append(Batch(lengths, accepts, tuple(rows[n] for n in names), pool.req_to_token.clone(), names))
    return given


def told(before: Roster, now: Roster) -> str:
    """In a sentence or two, what happened between two batches."""
    old, new = {r.name: r.length for r in before}, {r.name: r.length for r in now}
    left, came = [name for name in old if name not in new], [name for name in new if name not in old]
    moved = [n for n in new if n in old and list(new).index(n) < list(old).index(n)]
    others = {"grew": [n for n in new if n in old and new[n] > old[n]]}
    others["shrank"] = [n for n in new if n in old and new[n] < old[n]]
    said = [f"{_and(left)} finished" + (f", so {_and(moved)} moved up" if moved else "") if left else ""]
    said += [f"{_and(came)} came" if came else ""]
    said += [f"{_and(names)} {verb}" for verb, names in others.items() if names and not left and not came]
    return ". ".join(filter(None, said)) + "." if any(said) else "The same batch again."


def _and(words: Sequence[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"
