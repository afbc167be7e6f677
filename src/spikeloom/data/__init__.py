"""Sets of images and recordings by name, fixed splits, repeatable batches and augmentation. Importing this needs only torch and numpy."""

from spikeloom.data.augment import Augment, normalise
from spikeloom.data.batches import Batches
from spikeloom.data.images import ImageSet, load
from spikeloom.data.order import split
from spikeloom.data.recordings import counts
from spikeloom.data.sets import Card, Recordings, known

__all__ = ["Augment", "Batches", "Card", "ImageSet", "Recordings", "counts", "known", "load", "normalise", "split"]
