from spikeloom.core import bibliography
from spikeloom.train.run import Claim, Data, Network, Run, Training


def sew_wide7b_cifar10dvs() -> Run:
    """SEW Wide-7B-Net (ADD) on CIFAR10-DVS, 16 frames by event count, the first 90 % of each class for training."""
    return Run(
        recipe="sew-wide7b-cifar10dvs",
        title="SEW Wide-7B-Net on CIFAR10-DVS",
        paper=bibliography.SEW,
        claim=Claim("top-1, best epoch", 0.744, "authors' training log (last epoch 72.80 %)", "L"),
        data=Data("cifar10_dvs", frames="count"),
        network=Network("sew_wide_7b", {"connect": "add", "block": "sew"}),
        steps=16,
        encoder="none",
        training=Training(epochs=64, batch=16, lr=0.01, schedule="cosine"),
        minutes=600,
        machine="one data-centre GPU",
    )
