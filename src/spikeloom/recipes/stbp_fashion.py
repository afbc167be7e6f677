from spikeloom.core import bibliography
from spikeloom.train.run import Data, Network, Run, Training


def stbp_fashion() -> Run:
    """STBP's convolutional network on Fashion-MNIST, T = 5, Bernoulli input, in float32: `engine=sparse` trains it by events.

    The paper has no Fashion-MNIST row. Steps, epochs, optimiser and schedule are ours, for a budget of minutes.
    """
    return Run(
        recipe="stbp-fashion",
        title="STBP CNN on Fashion-MNIST",
        paper=bibliography.STBP,
        data=Data("fashion_mnist", augment=("flip",)),
        network=Network("stbp_cnn"),
        steps=5,
        encoder="bernoulli",
        training=Training(
            epochs=3, batch=100, optimiser="adam", lr=2e-3, schedule="cosine", warmup=0.2, loss="rate_mse", precision="32-true",
        ),
        minutes=10,
    )  # fmt: skip
