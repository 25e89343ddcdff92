"""python -m nsa_core explore: a replay of the explorer in a terminal, without Jupyter."""

import argparse
from pathlib import Path

from ... import strategies
from ...config import TABLES, require_int
from .session import MODES, Session, View
from .setup import Setup
from .story import STORY, roster
from .words import text

SIZES = {
    "width": "columns of every table",
    "page_size": "tokens in a page",
    "topk": "most tokens a row attends to",
    "draft_tokens": "d",
    "steps": "captured draft steps N",
    "step_offset": "tokens more per step",
}
DEFAULTS = {"draft_tokens": 3}
EXAMPLE = "example: python -m nsa_core explore --mode decode --before 18,5,14,10 --lengths 7,12,3"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.description, parser.epilog = "Show what a replay writes and what it leaves, cell by cell.", EXAMPLE
    parser.add_argument("--mode", choices=MODES, default="decode", help="forward mode; default %(default)s")
    parser.add_argument("--strategy", choices=list(strategies()), default=Setup.strategy, help="default %(default)s")
    parser.add_argument("--replay", type=int, default=3, help=f"of the story, 1..{len(STORY)}; default %(default)s")
    parser.add_argument("--lengths", type=_numbers, help="tokens of each request, instead of the story")
    parser.add_argument("--before", type=_numbers, default=(), help="lengths of a replay before that")
    parser.add_argument("--accept", type=_numbers, default=(), help="accept lengths, read in draft_extend; default 1")
    parser.add_argument("--captured-bs", type=int, help="captured requests; the longer batch's unless given")
    for name, meaning in SIZES.items():
        option, default = f"--{name.replace('_', '-')}", DEFAULTS.get(name, getattr(Setup, name))
        parser.add_argument(option, type=int, default=default, help=f"{meaning}; default %(default)s")
    parser.add_argument("--step", type=int, default=0, help="draft step to look at; default %(default)s")
    parser.add_argument("--tables", nargs="+", choices=TABLES, default=TABLES, help="tables that are captured")
    parser.add_argument("--out", type=Path, help="write a picture, too: a PNG")


def main(args: argparse.Namespace) -> int:
    """Print the cells and, if asked to, write their picture."""
    scene = show(args)
    print(text(scene))
    if args.out:
        args.out.write_bytes(_picture(scene))
        print(f"picture: {args.out}")
    return 0


def show(args: argparse.Namespace) -> dict:
    """The scene of the replay that was asked for."""
    rosters = STORY[: args.replay]
    if args.lengths is not None:
        rosters = tuple(roster(lengths, args.accept) for lengths in (args.before, args.lengths) if lengths)
    elif not 1 <= args.replay <= len(STORY):
        raise ValueError(f"replay is {args.replay}, but the story has 1..{len(STORY)}")
    bs = max(map(len, rosters), default=0) if args.captured_bs is None else args.captured_bs
    for name, size in {"captured_bs": bs, "width": args.width, "steps": args.steps}.items():
        require_int(name, size, 1)
    if not 0 <= args.step < args.steps:
        raise ValueError(f"step is {args.step}, but the captured steps are 0..{args.steps - 1}")
    sizes = {name: getattr(args, name) for name in SIZES}
    setup = Setup(bs=bs, strategy=args.strategy, tables=tuple(args.tables), **sizes, **MODES[args.mode][1])
    return Session(setup, rosters, view=View(setup, rosters, args.step)).frames[-1]


def _picture(scene: dict) -> bytes:
    try:
        from .picture import picture
    except ModuleNotFoundError as error:
        message = f"{error}; the picture needs the extra: pip install 'nsa_core[notebooks]'"
        raise ModuleNotFoundError(message) from error
    return picture(scene)


def _numbers(given: str) -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in given.replace(",", " ").split())
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{given!r} is no list of whole numbers such as 7,12,3") from error
