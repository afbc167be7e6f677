from spikeloom.core import bibliography
from spikeloom.train.run import Data, Network, Run, Training


def sew_add_digits() -> Run:
    """The demo's SEW: eight ADD blocks of 32 channels on scikit-learn's 8 x 8 digits."""
    return Run(
        recipe="sew-add-digits",
        title="SEW-ADD 8B-Net",
        paper=bibliography.SEW,
        data=Data("digits"),
        network=Network("sew_net", {"stages": ((32, 8),), "inputs": 1, "size": 8, "connect": "add", "start": "default"}),
        steps=4,
        training=Training(epochs=16, batch=32, optimiser="adam", lr=2e-3, schedule="cosine", warmup=1),
        minutes=0.5,
    )
