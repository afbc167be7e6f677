"""Fashion-MNIST: ten kinds of clothing, 28 x 28 grey."""

from spikeloom.core.paper import Paper
from spikeloom.data.sets.base import Card

card = Card(
    key="fashion_mnist",
    title="Fashion-MNIST",
    classes=("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"),
    channels=1,
    side=28,
    train=60_000,
    test=10_000,
    validation=6_000,
    mean=(0.2860,),
    std=(0.3530,),
    licence="MIT",
    paper=Paper(
        "xiao2017fashion", "Fashion-MNIST: a Novel Image Dataset for Benchmarking Machine Learning Algorithms",
        "Xiao, Han and Rasul, Kashif and Vollgraf, Roland", "arXiv:1708.07747", 2017, "https://arxiv.org/abs/1708.07747",
    ),
    hub="zalando-datasets/fashion_mnist",
)
