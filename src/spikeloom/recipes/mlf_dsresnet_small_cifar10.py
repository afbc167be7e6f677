from spikeloom.core import bibliography
from spikeloom.train.run import Data, Network, Run, Training


def mlf_dsresnet_small_cifar10() -> Run:
    """DS-ResNet-20 of 16-32-64 channels with MLF units on CIFAR-10, T = 4, in two hours on two cores.

    The paper's CIFAR-10 network is 16 times larger (`mlf-dsresnet20-cifar10`) and trains 110 epochs.
    """
    return Run(
        recipe="mlf-dsresnet-small-cifar10",
        title="MLF DS-ResNet-20 (16-32-64) on CIFAR-10",
        paper=bibliography.MLF,
        data=Data("cifar10", augment=("flip", "crop")),
        network=Network("ds_resnet", {"depth": 20, "channels": (16, 32, 64), "levels": 3, "block": "ds", "epsilon": "inside"}),
        steps=4,
        training=Training(
            epochs=20, batch=64, lr=0.1, weight_decay=1e-4, schedule="cosine", warmup=0.5, precision="bf16-mixed",
        ),
        minutes=120,
    )  # fmt: skip
