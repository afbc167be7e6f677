from spikeloom.core import bibliography
from spikeloom.train.run import Claim, Data, Network, Run, Training


def tdbn_resnet19_cifar10() -> Run:
    """STBP-tdBN's ResNet-19 on CIFAR-10, T = 6. The schedule's epochs are ours: the paper's were not at hand."""
    return Run(
        recipe="tdbn-resnet19-cifar10",
        title="tdBN ResNet-19 on CIFAR-10",
        paper=bibliography.TDBN,
        claim=Claim("top-1", 0.9316, "tdBN paper, ResNet-19, T = 6", "M"),
        data=Data("cifar10", augment=("crop", "flip")),
        network=Network("tdbn_resnet19"),
        steps=6,
        training=Training(epochs=100, batch=64, lr=0.1, schedule="step", step_every=35),
        minutes=600,
        machine="one data-centre GPU",
    )
