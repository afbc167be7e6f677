from spikeloom.core import bibliography
from spikeloom.train.run import Data, Network, Run, Training


def ann_vgg_cifar10() -> Run:
    """An ordinary VGG of six convolutions on CIFAR-10, to convert; `activation=qcfs` trains what the route qcfs wants.

    QCFS's authors train their VGG-16 for 300 epochs with the same optimiser; this budget is two hours on two cores.
    """
    return Run(
        recipe="ann-vgg-cifar10",
        title="VGG with ReLU on CIFAR-10, to convert",
        paper=bibliography.QCFS,
        data=Data("cifar10", augment=("flip", "crop", "cutout")),
        network=Network("ann_vgg"),
        steps=1,
        training=Training(
            epochs=60, batch=128, lr=0.1, weight_decay=5e-4, schedule="cosine", warmup=1.0, precision="bf16-mixed",
        ),
        minutes=120,
    )  # fmt: skip
