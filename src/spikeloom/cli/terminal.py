"""What the commands share: tables and progress on the terminal, `key=value` words."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from spikeloom.core.errors import RecipeError, refusal

Command = Callable[[str, Any, str], Any]  # name, function, help to an argparse parser


def changes(pairs: Sequence[str]) -> dict[str, str]:
    """`key=value` words as a dict. Raises RecipeError for a word without `=`."""
    for pair in pairs:
        if "=" not in pair:
            raise RecipeError(refusal("override", pair, "key=value, e.g. epochs=5"))
    return dict(pair.split("=", 1) for pair in pairs)  # type: ignore[misc]


def table(title: str, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Print a table; the first column is never wrapped."""
    from rich.console import Console
    from rich.table import Table

    table = Table(title=title)
    for i, column in enumerate(columns):
        table.add_column(column, no_wrap=i == 0, overflow="fold")
    for row in rows:
        table.add_row(*map(short, row))
    console = Console()
    Console(width=console.width if console.is_terminal else 200).print(table)


def progress(items: Iterable[Any], total: int, what: str) -> Iterable[Any]:
    """The items, with a bar and an estimate on stderr while they are gone through; nothing where nobody looks."""
    from rich.console import Console
    from rich.progress import track

    return track(items, what, total, console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty())


def short(value: object) -> str:
    """Four digits of a number, nothing for None."""
    return "" if value is None else f"{value:.4g}" if isinstance(value, float) else str(value)
