"""Where the files of a set are: a folder, `SPIKELOOM_DATA`, or the Hugging Face hub."""

import os
from dataclasses import dataclass
from pathlib import Path

from spikeloom.core.errors import DataError
from spikeloom.data.sets import Card

PARTS = ("train", "test")


@dataclass(frozen=True)
class Source:
    """The parquet files of each part, in order, and what to do when one of them is bad."""

    card: Card
    files: dict[str, list[Path]]
    advice: str


def find(card: Card, data_dir: str | Path | None = None) -> Source:
    """The set's parquet files: from `data_dir`, else the folder in `SPIKELOOM_DATA`, else the Hugging Face hub.

    Raises DataError when the folder or a part of the set is missing, or when the hub cannot be reached.
    """
    root = given(data_dir)
    if root:
        advice = _advice(card, root)
        folder = existing(root, card.key, advice, data_dir)
    else:
        folder, advice = _download(card), _advice(card)
    files = {part: sorted(folder.rglob(f"{part}-*.parquet")) for part in PARTS}
    for part in PARTS:
        if not files[part]:
            raise DataError(f"{folder}: no file {part}-*.parquet in it or below it; {advice}")
    return Source(card, files, advice)


def given(data_dir: str | Path | None) -> Path | None:
    """The data folder: `data_dir`, else the one in `SPIKELOOM_DATA`, else None."""
    found = data_dir or os.environ.get("SPIKELOOM_DATA")
    return Path(found).expanduser() if found else None


def existing(root: Path, name: str, advice: str, data_dir: str | Path | None) -> Path:
    """`root`/name; raises DataError where there is no such folder. data_dir: as for `given`, to say whose `root` is."""
    if not (root / name).is_dir():
        named = "data_dir" if data_dir else "SPIKELOOM_DATA"
        raise DataError(f"{root / name}: no such folder ({named} is {root}, which {_holds(root)}); {advice}")
    return root / name


def _holds(root: Path) -> str:
    if not root.is_dir():
        return "does not exist"
    return "holds " + (", ".join(sorted(path.name for path in root.iterdir() if path.is_dir())) or "no folder")


def _advice(card: Card, root: str | Path = "DIR") -> str:
    command = f"hf download {card.hub} --repo-type dataset --local-dir {Path(root) / card.key}"
    return f"run `{command}` and pass --data-dir {root} or set SPIKELOOM_DATA={root}"


def _download(card: Card) -> Path:
    try:
        from huggingface_hub import snapshot_download

        patterns = [f"*{part}-*.parquet" for part in PARTS]
        return Path(snapshot_download(card.hub, repo_type="dataset", allow_patterns=patterns))
    except Exception as error:  # not installed, offline, blocked, gone, disk full: the hub's errors have no common base
        reason = f"{type(error).__name__}: {error}".splitlines()[0]
        raise DataError(
            f"{card.key}: no data folder given, and {card.hub} cannot be fetched from the Hugging Face hub ({reason}); "
            f"on a machine with a network {_advice(card)}"
        ) from error
