from spikeloom.core import bibliography
from spikeloom.train.run import Data, Network, Run, Training


def ann_resnet20_cifar10() -> Run:
    """An ordinary ResNet-20 of 32-64-128 channels on CIFAR-10, to convert; `activation=qcfs` trains what the route qcfs wants,
    with `begins=fitted` from the weights of the ReLU network.

    QCFS's authors train theirs for 300 epochs with the same optimiser; this budget is two hours on two cores.
    """
    return Run(
        recipe="ann-resnet20-cifar10",
        title="ResNet-20 with ReLU on CIFAR-10, to convert",
        paper=bibliography.QCFS,
        data=Data("cifar10", augment=("flip", "crop", "cutout")),
        network=Network("ann_resnet"),
        steps=1,
        training=Training(
            epochs=60, batch=128, lr=0.1, weight_decay=5e-4, schedule="cosine", warmup=1.0, precision="bf16-mixed",
        ),
        minutes=120,
    )  # fmt: skip
