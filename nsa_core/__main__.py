"""python -m nsa_core COMMAND"""

import argparse
import os
import sys
from importlib import import_module

_COMMANDS = {
    "check": ("lab.check", "run every strategy against the oracle on this machine"),
    "bench": ("lab.bench", "measure strategies, their parts and the floors"),
    "decide": ("lab.decision", "evaluate the decision's own criteria on measurements"),
    "audit": ("audit", "find stale, torn and moved metadata before a graph reads it"),
    "explore": ("lab.explore", "draw what one replay writes and leaves"),
}
_BAD_INPUT = (ArithmeticError, LookupError, ModuleNotFoundError, OSError, RuntimeError, TypeError, ValueError)


def main(arguments: list[str]) -> int:
    """Run a command; only its module is imported. Input it cannot work with: one line on stderr, exit status 2."""
    parser = argparse.ArgumentParser(prog="python -m nsa_core")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, (_, help_text) in _COMMANDS.items():
        commands.add_parser(name, help=help_text, add_help=False)
    name = parser.parse_args(arguments[:1]).command
    try:
        module = import_module(f".{_COMMANDS[name][0]}", __package__)
        own = argparse.ArgumentParser(
            prog=f"{parser.prog} {name}", formatter_class=argparse.RawDescriptionHelpFormatter
        )
        module.add_arguments(own)
        return module.main(own.parse_args(arguments[1:]))
    except _BAD_INPUT as error:
        if os.environ.get("NSA_CORE_TRACEBACK") == "1":
            raise
        said = " ".join(str(error.args[0] if isinstance(error, KeyError) and error.args else error).split())
        print(
            f"{parser.prog} {name}: {said or type(error).__name__} (NSA_CORE_TRACEBACK=1 shows where)",
            file=sys.stderr,
        )
        return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
