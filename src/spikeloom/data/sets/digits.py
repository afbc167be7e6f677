"""Digits: the 1,797 images of 8 x 8 handwritten digits that come with scikit-learn (the UCI test part). No download."""

import numpy as np

from spikeloom.core.errors import DataError
from spikeloom.core.paper import Paper
from spikeloom.data.sets.base import Card


def read() -> tuple[np.ndarray, np.ndarray]:
    """Images `[1797, 1, 8, 8]`, the counts 0..16 scaled to 0..255, and labels `[1797]`, in scikit-learn's order."""
    try:
        from sklearn.datasets import load_digits
    except ImportError:
        raise DataError("digits: scikit-learn, which carries the images, is not installed; run `pip install scikit-learn`") from None
    counts, labels = load_digits(return_X_y=True)
    return np.rint(counts * (255 / 16)).astype(np.uint8).reshape(-1, 1, 8, 8), labels.astype(np.int64)


card = Card(
    key="digits",
    title="Digits (UCI, 8 x 8)",
    classes=tuple("0123456789"),
    channels=1,
    side=8,
    train=1437,
    test=360,
    validation=144,
    mean=(0.3048,),
    std=(0.3754,),
    licence="CC BY 4.0",
    paper=Paper(
        "alpaydin1998digits", "Optical Recognition of Handwritten Digits", "Alpaydin, E. and Kaynak, C.",
        "UCI Machine Learning Repository", 1998, "https://doi.org/10.24432/C50P49",
    ),
    bundled_in="scikit-learn",
    read=read,
)
