from spikeloom.core import bibliography
from spikeloom.train.run import Claim, Data, Network, Run, Training


def relpsp_mlp_mnist() -> Run:
    """784-800-10 of ReL-PSP neurons on MNIST: one spike per neuron at most, exact gradients of the spike times."""
    return Run(
        recipe="relpsp-mlp-mnist",
        title="ReL-PSP MLP on MNIST",
        paper=bibliography.RELPSP,
        claim=Claim("top-1", 0.985, "784-800-10", "M"),
        data=Data("mnist", augment=("crop:1",)),
        network=Network("relpsp_mlp"),
        steps=1,
        encoder="first_spike",
        training=Training(epochs=30, batch=128, optimiser="adam", lr=1e-3, schedule="cosine", clip=3.0, layout="contiguous"),
        minutes=10,
    )
