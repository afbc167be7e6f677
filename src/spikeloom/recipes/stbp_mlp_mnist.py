from spikeloom.core import bibliography
from spikeloom.train.run import Claim, Data, Network, Run, Training


def stbp_mlp_mnist() -> Run:
    """STBP's fully connected network 784-800-10 on MNIST, Bernoulli input, rate MSE."""
    return Run(
        recipe="stbp-mlp-mnist",
        title="STBP MLP on MNIST",
        paper=bibliography.STBP,
        claim=Claim("top-1", 0.9889, "STBP paper, T = 30", "M"),
        data=Data("mnist"),
        network=Network("stbp_mlp"),
        steps=20,
        encoder="bernoulli",
        training=Training(epochs=15, batch=100, optimiser="adam", lr=1e-3, schedule="cosine", loss="rate_mse"),
        minutes=10,
    )
