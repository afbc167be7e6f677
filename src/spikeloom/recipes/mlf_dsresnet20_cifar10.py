from spikeloom.core import bibliography
from spikeloom.train.run import Claim, Data, Network, Run, Training


def mlf_dsresnet20_cifar10() -> Run:
    """MLF (K = 3) DS-ResNet-20 on CIFAR-10 as the authors' code trains it: 110 epochs, SGD 0.1 divided by 10 every 40 epochs."""
    return Run(
        recipe="mlf-dsresnet20-cifar10",
        title="MLF DS-ResNet-20 on CIFAR-10",
        paper=bibliography.MLF,
        claim=Claim("top-1", 0.9425, "MLF paper, DS-ResNet-20, T = 4", "M"),
        data=Data("cifar10", augment=("crop", "flip")),
        network=Network("ds_resnet", {"depth": 20, "channels": (64, 128, 256), "levels": 3, "block": "ds"}),
        steps=4,
        training=Training(epochs=110, batch=64, lr=0.1, weight_decay=1e-4, schedule="step", step_every=40, seed=1),
        minutes=240,
        machine="one data-centre GPU",
    )
