"""A small convolutional network for event cameras whose weights serve bins of any width.

    [2, side, side] - c5 stride 2 - c3 stride 2 - classes       72,000 parameters with the defaults

Integrators without leak, reset by subtraction, no biases, no norms: nothing in it knows how long a step is. A neuron's spikes add up to
its summed current over the threshold, and so do the outputs, however many steps they are spread over; but for neurons that would have to
spike more than once in a step, and for currents that change sign: in finer bins a spike may leave before a negative current arrives.
"""

from collections import OrderedDict

from torch import nn

from spikeloom.neurons import IF


def event_cnn(
    *, inputs: int = 2, side: int = 34, channels: tuple[int, int] = (32, 64), classes: int = 10, threshold: float = 1.0, gain: float = 2.0
) -> nn.Sequential:
    """x `[T*B, inputs, side, side]` of event counts to outputs `[T*B, classes]`.

    gain: of the first weights, over He's: of inputs that are mostly silent the currents are small.
    """
    first, second = channels
    left = -(-side // 4)
    net = nn.Sequential(
        OrderedDict[str, nn.Module](
            conv1=nn.Conv2d(inputs, first, 5, 2, 2, bias=False), neuron1=IF(threshold=threshold, reset="subtract"),
            conv2=nn.Conv2d(first, second, 3, 2, 1, bias=False), neuron2=IF(threshold=threshold, reset="subtract"),
            flatten=nn.Flatten(), fc=nn.Linear(second * left**2, classes, bias=False),
        )
    )  # fmt: skip
    for conv in (net.conv1, net.conv2):
        nn.init.kaiming_normal_(conv.weight, nonlinearity="relu")  # type: ignore[arg-type]
        conv.weight.data.mul_(gain)
    return net
