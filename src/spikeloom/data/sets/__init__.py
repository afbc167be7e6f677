"""Image sets and sets of recordings, one file each: a new file that defines `card` is a new set. `sets.known` maps keys to cards."""

import sys

from spikeloom.core import registry
from spikeloom.data.sets.base import Card, Recordings

known: dict[str, Card] = {module.card.key: module.card for module in registry.modules(sys.modules[__name__])}
__all__ = ["Card", "Recordings", "known"]
