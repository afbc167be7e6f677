"""CIFAR-10: ten kinds of objects, 32 x 32 RGB. Its authors state no licence."""

from spikeloom.core.paper import Paper
from spikeloom.data.sets.base import Card

card = Card(
    key="cifar10",
    title="CIFAR-10",
    classes=("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"),
    channels=3,
    side=32,
    train=50_000,
    test=10_000,
    validation=5_000,
    mean=(0.4914, 0.4822, 0.4465),
    std=(0.2023, 0.1994, 0.2010),
    licence="none stated",
    paper=Paper(
        "krizhevsky2009cifar", "Learning Multiple Layers of Features from Tiny Images", "Krizhevsky, Alex",
        "Technical report, University of Toronto", 2009, "https://www.cs.toronto.edu/~kriz/learning-features-2009-TR.pdf",
    ),
    hub="uoft-cs/cifar10",
)
