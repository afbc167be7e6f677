from spikeloom.core import bibliography
from spikeloom.train.run import Data, Network, Run, Training


def ann_cnn_fashion() -> Run:
    """An ordinary convolutional network on Fashion-MNIST, to convert."""
    return Run(
        recipe="ann-cnn-fashion",
        title="CNN with ReLU on Fashion-MNIST, to convert",
        paper=bibliography.TERMAPPING,
        data=Data("fashion_mnist", augment=("flip", "crop:1")),
        network=Network("ann_cnn"),
        steps=1,
        training=Training(epochs=12, batch=100, optimiser="adam", lr=2e-3, schedule="cosine", warmup=0.2, precision="bf16-mixed"),
        minutes=3,
    )  # fmt: skip
