"""python -m nsa_core explore: the explorer's picture without Jupyter."""

import argparse
from pathlib import Path

from ... import ForwardMode, strategies
from ...config import TABLES, require_int
from .observe import FIELDS, Observation
from .setup import Batch, Setup
from .words import describe_cell, summary

SIZES = {
    "width": "columns of every table",
    "page_size": "tokens in a page",
    "topk": "most tokens a row attends to",
    "draft_tokens": "d",
    "steps": "captured draft steps N",
    "step_offset": "tokens more per step",
}
LENGTHS, BEFORE, ACCEPTS = (7, 12, 3, 9), (18, 5, 14, 10), (2, 4, 1, 3)
EXAMPLE = "example: python -m nsa_core explore --mode decode --lengths 7,12,3 --out picture.png"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    modes = [mode.value for mode in ForwardMode]
    parser.description, parser.epilog = "Draw what a replay writes and leaves, and say it in words.", EXAMPLE
    parser.add_argument("--mode", choices=modes, default="decode", help="forward mode; default %(default)s")
    parser.add_argument("--strategy", choices=list(strategies()), default=Setup.strategy, help="default %(default)s")
    parser.add_argument("--lengths", type=_numbers, default=LENGTHS, help="tokens of each request in the batch")
    parser.add_argument("--before", type=_numbers, default=BEFORE, help="lengths of an earlier replay; '' for none")
    parser.add_argument("--accept", type=_numbers, default=ACCEPTS, help="accept lengths, read in draft_extend")
    parser.add_argument("--captured-bs", type=int, help="captured requests; the longer batch's unless given")
    for name, text in SIZES.items():
        option, default = f"--{name.replace('_', '-')}", getattr(Setup, name)
        parser.add_argument(option, type=int, default=default, help=f"{text}; default %(default)s")
    for name in ("step", "row", "column"):
        parser.add_argument(f"--{name}", type=int, default=0, help=f"{name} to look at; default %(default)s")
    parser.add_argument("--field", choices=FIELDS, help="field to look at; default: the first table")
    parser.add_argument("--tables", nargs="+", choices=TABLES, default=TABLES, help="tables that are captured")
    parser.add_argument("--out", type=Path, default=Path("explore.png"), help="the picture; default %(default)s")


def main(args: argparse.Namespace) -> int:
    """Print the words and write the picture."""
    observation, cell = observe(args), (args.step, args.field or args.tables[0], args.row, args.column)
    print(summary(observation, args.step))
    print(describe_cell(observation, *cell))
    args.out.write_bytes(picture(observation, *cell))
    print(f"picture: {args.out}")
    return 0


def observe(args: argparse.Namespace) -> Observation:
    """Capture, replay `--before` and then `--lengths`."""
    bs = max(len(args.lengths), len(args.before)) if args.captured_bs is None else args.captured_bs
    for name, size in {"captured_bs": bs, "width": args.width, "steps": args.steps}.items():
        require_int(name, size, 1)
    if not 0 <= args.step < args.steps:
        raise ValueError(f"step is {args.step}, but the captured steps are 0..{args.steps - 1}")
    sizes = {name: getattr(args, name) for name in SIZES}
    setup = Setup(mode=ForwardMode(args.mode), bs=bs, strategy=args.strategy, tables=tuple(args.tables), **sizes)
    observation = Observation(setup)
    for lengths in filter(None, [args.before, args.lengths]):
        accepts = (args.accept + (1,) * len(lengths))[: len(lengths)]
        observation.replay(Batch(lengths, accepts))
    return observation


def picture(observation: Observation, step: int, field: str, row: int, column: int) -> bytes:
    try:
        from .draw import Picture
    except ModuleNotFoundError as error:
        message = f"{error}; the picture needs the extra: pip install 'nsa_core[notebooks]'"
        raise ModuleNotFoundError(message) from error
    return Picture(observation, step, field, row, column).png


def _numbers(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in text.replace(",", " ").split())
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is no list of whole numbers such as 7,12,3") from error
