from spikeloom.core import bibliography
from spikeloom.train.run import Data, Network, Run, Training


def mlf_dsresnet_digits() -> Run:
    """The demo's MLF: a DS-ResNet-8 of 16-32-64 channels on scikit-learn's 8 x 8 digits."""
    return Run(
        recipe="mlf-dsresnet-digits",
        title="MLF DS-ResNet-8",
        paper=bibliography.MLF,
        data=Data("digits"),
        network=Network("ds_resnet", {"depth": 8, "channels": (16, 32, 64), "inputs": 1}),
        steps=4,
        training=Training(epochs=15, batch=32, lr=0.05, weight_decay=1e-4, schedule="cosine", warmup=1),
        minutes=0.5,
    )
