"""The explorer's picture without Jupyter: `python -m nsa_core.explore --mode decode --out picture.png`."""

import argparse
from pathlib import Path

from ... import ForwardMode, strategies
from .observe import FIELDS, Observation
from .setup import Inputs, Setup
from .words import describe, summary

NUMBERS = {
    "width": "columns of every table",
    "page_size": "tokens in a page",
    "topk": "most tokens a row attends to",
    "draft_tokens": "d",
    "steps": "captured draft steps N",
    "step_offset": "tokens more per step",
}
LENGTHS, BEFORE, ACCEPTS = (7, 12, 3, 9), (18, 5, 14, 10), (2, 4, 1, 3)


def main(arguments: list[str] | None = None) -> int:
    parser = _parser()
    asked = parser.parse_args(arguments)
    try:
        seen = observe(asked)
        print(summary(seen, asked.step))
        print(describe(seen, asked.step, asked.field, asked.row, asked.column))
        asked.out.write_bytes(picture(seen, asked))
    except (KeyError, OSError, RuntimeError, TypeError, ValueError) as error:
        parser.error(str(error))
    except ModuleNotFoundError as error:
        parser.error(f"{error}; the picture needs the extra: pip install 'nsa_core[notebooks]'")
    print(f"picture: {asked.out}")
    return 0


def observe(asked: argparse.Namespace) -> Observation:
    """Capture, replay `--before` and then `--lengths`."""
    if not 0 <= asked.step < asked.steps:
        raise ValueError(f"step is {asked.step}, but the captured steps are 0..{asked.steps - 1}")
    sizes = {name: getattr(asked, name) for name in NUMBERS}
    bs = asked.captured_bs or max(len(asked.lengths), len(asked.before))
    seen = Observation(Setup(mode=ForwardMode(asked.mode), bs=bs, strategy=asked.strategy, **sizes))
    for lengths in filter(None, [asked.before, asked.lengths]):
        accepts = (asked.accept + (1,) * len(lengths))[: len(lengths)]
        seen.replay(Inputs(lengths, accepts))
    return seen


def picture(seen: Observation, asked: argparse.Namespace) -> bytes:
    from . import draw

    return draw.png(draw.figure(seen, asked.step, asked.field, asked.row, asked.column))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m nsa_core.explore", description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("--mode", choices=[mode.value for mode in ForwardMode], default="decode", help="forward mode")
    parser.add_argument(
        "--strategy", choices=list(strategies()), default=Setup.strategy, help="how sets are refreshed"
    )
    parser.add_argument("--lengths", type=_numbers, default=LENGTHS, help="tokens of each request in the batch")
    parser.add_argument("--before", type=_numbers, default=BEFORE, help="lengths of an earlier replay; '' for none")
    parser.add_argument("--accept", type=_numbers, default=ACCEPTS, help="accept lengths, read in draft_extend")
    parser.add_argument("--captured-bs", type=int, help="captured requests; the longer batch's unless given")
    for name, text in NUMBERS.items():
        parser.add_argument(f"--{name.replace('_', '-')}", type=int, default=getattr(Setup, name), help=text)
    for name in ("step", "row", "column"):
        parser.add_argument(f"--{name}", type=int, default=0, help=f"{name} to look at")
    parser.add_argument("--field", choices=FIELDS, default="page_table_1", help="field to look at")
    parser.add_argument("--out", type=Path, default=Path("explore.png"), help="the picture")
    return parser


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.replace(",", " ").split())


if __name__ == "__main__":
    raise SystemExit(main())
