from spikeloom.core import bibliography
from spikeloom.train.run import Data, Network, Run, Training


def stbp_digits() -> Run:
    """The demo's STBP: its convolutional network on scikit-learn's 8 x 8 digits."""
    return Run(
        recipe="stbp-digits",
        title="STBP CNN",
        paper=bibliography.STBP,
        data=Data("digits"),
        network=Network("stbp_cnn", {"size": 8}),
        steps=8,
        encoder="direct",
        training=Training(epochs=20, batch=32, optimiser="adam", lr=2e-3, schedule="cosine", loss="rate_mse"),
        minutes=0.5,
    )
