"""MNIST: handwritten digits, 28 x 28 grey."""

from spikeloom.core.paper import Paper
from spikeloom.data.sets.base import Card

card = Card(
    key="mnist",
    title="MNIST",
    classes=tuple("0123456789"),
    channels=1,
    side=28,
    train=60_000,
    test=10_000,
    validation=6_000,
    mean=(0.1307,),
    std=(0.3081,),
    licence="MIT",
    paper=Paper(
        "lecun1998mnist", "Gradient-Based Learning Applied to Document Recognition",
        "LeCun, Yann and Bottou, L{\\'e}on and Bengio, Yoshua and Haffner, Patrick",
        "Proceedings of the IEEE 86(11):2278-2324", 1998, "https://doi.org/10.1109/5.726791",
    ),
    hub="ylecun/mnist",
)
