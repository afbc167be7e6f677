from spikeloom.core import bibliography
from spikeloom.train.run import Data, Network, Run, Training


def ann_cnn_mnist() -> Run:
    """An ordinary convolutional network on MNIST, to convert."""
    return Run(
        recipe="ann-cnn-mnist",
        title="CNN with ReLU on MNIST, to convert",
        paper=bibliography.TERMAPPING,
        data=Data("mnist", augment=("crop:2",)),
        network=Network("ann_cnn"),
        steps=1,
        training=Training(epochs=8, batch=100, optimiser="adam", lr=2e-3, schedule="cosine", warmup=0.2, precision="bf16-mixed"),
        minutes=2,
    )  # fmt: skip
