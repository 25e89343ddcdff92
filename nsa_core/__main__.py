"""python -m nsa_core COMMAND"""

import argparse
import sys
from importlib import import_module

_COMMANDS = {
    "check": "run every strategy against the oracle on this machine",
    "bench": "measure strategies, their parts and the floors",
    "decide": "evaluate the decision's own criteria on measurements",
    "audit": "find stale, torn and moved metadata before a graph reads it",
}
_MODULES = {"check": "lab.check", "bench": "lab.bench", "decide": "lab.decision", "audit": "audit"}


def main(arguments: list[str]) -> int:
    """Hand a command to its module; only that module is imported."""
    parser = argparse.ArgumentParser(prog="python -m nsa_core")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, help_text in _COMMANDS.items():
        commands.add_parser(name, help=help_text, add_help=False)
    name = parser.parse_args(arguments[:1]).command
    module = import_module(f".{_MODULES[name]}", __package__)
    own = argparse.ArgumentParser(prog=f"{parser.prog} {name}")
    module.add_arguments(own)
    return module.main(own.parse_args(arguments[1:]))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
