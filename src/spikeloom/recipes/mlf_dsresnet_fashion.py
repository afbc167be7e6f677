from spikeloom.core import bibliography
from spikeloom.train.run import Data, Network, Run, Training


def mlf_dsresnet_fashion() -> Run:
    """DS-ResNet-14 of 16-32-64 channels with MLF units on Fashion-MNIST, T = 4.

    `levels=1|2|3` and `block=ds|plain` test the paper's two claims (levels and dormant suppression help) in one budget.
    The paper has no Fashion-MNIST row. Depth, optimiser, epochs and schedule are ours, for a budget of minutes; the eps of tdBN
    stands inside the root.
    """
    return Run(
        recipe="mlf-dsresnet-fashion",
        title="MLF DS-ResNet-14 (16-32-64) on Fashion-MNIST",
        paper=bibliography.MLF,
        data=Data("fashion_mnist", augment=("flip",)),
        network=Network("ds_resnet", {"depth": 14, "channels": (16, 32, 64), "inputs": 1, "levels": 3, "block": "ds", "epsilon": "inside"}),
        steps=4,
        training=Training(
            epochs=15, batch=64, optimiser="adam", lr=3e-3, weight_decay=1e-5, schedule="cosine", warmup=0.3, precision="bf16-mixed",
        ),
        minutes=75,
    )  # fmt: skip
