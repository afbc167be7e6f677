from spikeloom.core import bibliography
from spikeloom.train.run import Data, Network, Run, Training


def plain_resnet_digits() -> Run:
    """The demo's control: the SEW network with plain spiking residual blocks, all else equal."""
    return Run(
        recipe="plain-resnet-digits",
        title="Plain spiking 8B-Net",
        paper=bibliography.SEW,
        data=Data("digits"),
        network=Network("sew_net", {"stages": ((32, 8),), "inputs": 1, "size": 8, "block": "plain", "start": "default"}),
        steps=4,
        training=Training(epochs=16, batch=32, optimiser="adam", lr=2e-3, schedule="cosine", warmup=1),
        minutes=0.5,
        failure=(
            "expected of the method: a plain spiking block cannot be the identity with leaky neurons, and its gradient shrinks from block "
            "to block, so that eight blocks hardly train. SEW blocks, all else equal, do."
        ),
    )
