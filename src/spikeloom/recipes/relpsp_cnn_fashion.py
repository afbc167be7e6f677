from spikeloom.core import bibliography
from spikeloom.train.run import Claim, Data, Network, Run, Training


def relpsp_cnn_fashion() -> Run:
    """16C5-P2-32C5-P2-800-128-10 of ReL-PSP neurons on Fashion-MNIST: one spike per neuron at most, exact gradients of the spike times."""
    return Run(
        recipe="relpsp-cnn-fashion",
        title="ReL-PSP CNN on Fashion-MNIST",
        paper=bibliography.RELPSP,
        claim=Claim("top-1", 0.901, "16C5-P2-32C5-P2-800-128-10", "M"),
        data=Data("fashion_mnist", augment=("flip",)),
        network=Network("relpsp_cnn"),
        steps=1,
        encoder="first_spike",
        training=Training(epochs=10, batch=64, optimiser="adam", lr=2e-3, schedule="cosine", clip=3.0, layout="contiguous"),
        minutes=15,
    )
