from spikeloom.data import known
from spikeloom.train.run import Data, Network, Run, Training


def nmnist_1k() -> Run:
    """A small network of integrators on 1,000 recordings of N-MNIST, 31 frames of 10 ms; `spikeloom bench stream` runs it in bins of 1 ms.

    100 of the recordings are for validation, 100 others for the test: accuracies are not comparable with published ones for N-MNIST. No
    paper's network: it has neither leak nor bias, so that its weights serve other bins too.
    """
    return Run(
        recipe="nmnist-1k",
        title="Integrators on a subset of N-MNIST",
        paper=known["nmnist_1k"].paper,
        data=Data("nmnist_1k", augment=("crop:2",), frames="time"),
        network=Network("event_cnn"),
        steps=31,
        encoder="none",
        training=Training(epochs=12, batch=20, optimiser="adam", lr=2e-3, schedule="cosine"),
        minutes=3,
        machine="one CPU core",
    )
