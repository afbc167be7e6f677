"""The `spikeloom` command: list, train, eval, convert, compile, run, compare, report, cite, explain, demo, bench."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import Any

from spikeloom.bench import command as bench
from spikeloom.cli import convert, infer, inspect, train
from spikeloom.cli.terminal import table
from spikeloom.core.errors import SpikeloomError


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; a SpikeloomError becomes one line on stderr and exit status 2."""
    known = parser()
    chosen, rest = known.parse_known_args(arguments)
    # argparse leaves key=value words that follow an option behind
    if rest and hasattr(chosen, "changes") and all("=" in word and not word.startswith("-") for word in rest):
        chosen.changes = [*chosen.changes, *rest]
    elif rest:
        known.error(f"unrecognised arguments: {' '.join(rest)}")
    try:
        if not hasattr(chosen, "malloc"):  # a benchmark does so itself, or not
            from spikeloom import tune_allocator

            tune_allocator()
        chosen.run(chosen)
    except SpikeloomError as error:
        print(f"spikeloom: {error}", file=sys.stderr)
        return 2
    except BrokenPipeError:
        return 1
    return 0


def parser() -> argparse.ArgumentParser:
    """Every command and its options."""
    whole = argparse.ArgumentParser("spikeloom", description="Deep spiking neural networks: train, convert, compare, inspect.")
    commands = whole.add_subparsers(required=True, metavar="COMMAND")

    def command(name: str, run: Any, text: str) -> argparse.ArgumentParser:
        sub = commands.add_parser(name, help=text, description=text)
        sub.set_defaults(run=run)
        return sub

    for part in (train, convert, infer, inspect):
        part.add(command)
    bench.add(commands, table)
    return whole
