"""python -m nsa_core COMMAND"""

import argparse
import os
import sys
from contextlib import suppress
from importlib import import_module
from typing import NoReturn

_COMMANDS = {
    "check": ("lab.check", "run every strategy against the oracle on this machine"),
    "bench": ("lab.releases.bench", "measure strategies, their parts and the floors"),
    "decide": ("lab.decision", "evaluate the decision's own criteria on measurements"),
    "audit": ("lab.releases.audit", "find stale, torn and moved metadata before a graph reads it"),
    "explore": ("lab.explore", "show what one replay writes and leaves"),
}
_BAD_INPUT = (ArithmeticError, LookupError, ModuleNotFoundError, OSError, RuntimeError, TypeError, ValueError)


class _Parser(argparse.ArgumentParser):
    """Leaves what is wrong with the arguments to `main`, which says everything that is wrong."""

    def error(self, message: str) -> NoReturn:
        raise ValueError(f"{message}; --help shows what there is")


def main(arguments: list[str]) -> int:
    """Run a command; only its module is imported. Input it cannot work with: one line on stderr, exit status 2."""
    parser = _Parser(prog="python -m nsa_core", epilog="example: python -m nsa_core check --trace-steps 50")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, (_, help_text) in _COMMANDS.items():
        commands.add_parser(name, help=help_text, add_help=False)
    own = _Parser(prog=parser.prog, formatter_class=argparse.RawDescriptionHelpFormatter)
    try:
        name = parser.parse_args(arguments[:1]).command
        own.prog = f"{parser.prog} {name}"
        module = import_module(f".{_COMMANDS[name][0]}", __package__)
        module.add_arguments(own)
        status = module.main(own.parse_args(arguments[1:]))
        sys.stdout.flush()  # here, where a full disk is still an error of this command
        return status
    except _BAD_INPUT as error:
        if os.environ.get("NSA_CORE_TRACEBACK") == "1":
            raise
        said = " ".join(str(error.args[0] if isinstance(error, KeyError) and error.args else error).split())
        print(f"{own.prog}: {said or type(error).__name__} (NSA_CORE_TRACEBACK=1 shows where)", file=sys.stderr)
        return 2


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    finally:
        with suppress(OSError):
            sys.stdout.close()  # what it still holds for a full disk, `main` has complained about
