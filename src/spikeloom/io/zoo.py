"""Trained networks by name: a card beside each file of weights, both checked."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from spikeloom import models
from spikeloom.core.errors import DataError
from spikeloom.core.params import nearest
from spikeloom.io import weights

HUB = "spikeloom/zoo"
_CHECKOUT = Path(__file__).parents[3] / "zoo"


@dataclass(frozen=True)
class Card:
    """What is known of a trained network.

    function, options: of `spikeloom.models`. pixels: `"raw"`, in [0, 1], `"standardised"`, or, of a spiking network, `"counts"` of events.
    accuracy: on the whole test set of `data`. sha256: of the weights, `NAME.safetensors`.
    """

    name: str
    function: str
    options: dict[str, Any]
    pixels: str
    data: str
    recipe: str
    accuracy: float
    licence: str
    sha256: str


def cards(folder: str | Path | None = None) -> dict[str, Card]:
    """The cards of `folder`, else of `$SPIKELOOM_ZOO`, else of the `zoo` of a checkout. Raises DataError for one that cannot be read."""
    where = _folder(folder)
    return {} if where is None else {path.stem: _card(path) for path in sorted(where.glob("*.json"))}


def load(name: str, folder: str | Path | None = None) -> nn.Module:
    """The trained network `name` in evaluation mode, its card as `.card`.

    Card and weights come from `folder`, else `$SPIKELOOM_ZOO`, else the `zoo` of a checkout, else the Hugging Face hub.
    Raises DataError for an unknown name, a missing file, and weights whose checksum is not the card's.
    """
    card, file = find(name, folder)
    net = models.known[card.function](**card.options)
    weights.load(net, file)
    net.card = card  # type: ignore[assignment]
    return net.eval()


def find(name: str, folder: str | Path | None = None) -> tuple[Card, Path]:
    """The card and the file of weights of `name`, its checksum checked; places and errors as in `load`."""
    where, known = _folder(folder), cards(folder)
    if name in known:
        card, file = known[name], where / f"{name}.safetensors"  # type: ignore[operator]
    elif where is not None:
        raise DataError(f"zoo: got {name!r}; {nearest(name, known)}; in {where}")
    else:
        card, file = _card(_fetched(f"{name}.json")), _fetched(f"{name}.safetensors")
    if not file.is_file():
        raise DataError(f"zoo: no file {file} beside its card; restore it, or train `{card.recipe}` again")
    found = hashlib.sha256(file.read_bytes()).hexdigest()
    if found != card.sha256:
        raise DataError(f"zoo: {file} has checksum {found[:12]}..., its card says {card.sha256[:12]}...; it is truncated or another file")
    return card, file


def keep(net: nn.Module, card: dict[str, Any], folder: Path) -> Card:
    """Write weights and card of a trained network into `folder`; `card` without the checksum."""
    file = folder / f"{card['name']}.safetensors"
    folder.mkdir(parents=True, exist_ok=True)
    weights.save(net, file)
    whole = Card(**card, sha256=hashlib.sha256(file.read_bytes()).hexdigest())
    temporary = folder / f".{whole.name}.json.{os.getpid()}"
    temporary.write_text(json.dumps(vars(whole), indent=1) + "\n")
    os.replace(temporary, folder / f"{whole.name}.json")
    return whole


def _folder(folder: str | Path | None) -> Path | None:
    chosen = folder or os.environ.get("SPIKELOOM_ZOO") or (_CHECKOUT if _CHECKOUT.is_dir() else None)
    if chosen is not None and not Path(chosen).is_dir():
        raise DataError(f"zoo: no folder {chosen}; give one with cards, or unset SPIKELOOM_ZOO")
    return None if chosen is None else Path(chosen)


def _card(path: Path) -> Card:
    try:
        return Card(**json.loads(path.read_text()))
    except (OSError, ValueError, TypeError) as error:
        raise DataError(f"zoo: {path} is no card ({error})") from error


def _fetched(file: str) -> Path:
    from huggingface_hub import hf_hub_download

    try:
        return Path(hf_hub_download(HUB, file))
    except Exception as error:  # the hub's errors have no common base
        advice = "give a folder, or set SPIKELOOM_ZOO to one with the card and the weights"
        raise DataError(f"zoo: {file} cannot be fetched from {HUB} ({type(error).__name__}); {advice}") from error
