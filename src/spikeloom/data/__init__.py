"""Image sets by name, fixed splits, repeatable batches and augmentation. Importing this needs only torch and numpy."""

from spikeloom.data.augment import Augment, normalise
from spikeloom.data.batches import Batches
from spikeloom.data.images import ImageSet, load
from spikeloom.data.order import split
from spikeloom.data.sets import Card, known

__all__ = ["Augment", "Batches", "Card", "ImageSet", "known", "load", "normalise", "split"]
