"""Random networks with weights on a grid, where every sum is exact: Runners in float32 and int8, and their streams, against the SNN."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

import spikeloom
from spikeloom.neurons import IF
from spikeloom.nn.snn import SNN


class Block(nn.Module):
    """A convolution, perhaps beside another and the input itself, a neuron, perhaps a pool."""

    def __init__(self, inputs, outputs, kernel, stride, groups, residual, pool, threshold):
        super().__init__()
        options = {"stride": stride, "padding": kernel // 2}
        self.conv = nn.Conv2d(inputs, outputs, kernel, groups=groups, bias=bool(outputs % 2), **options)
        same = inputs == outputs and stride == 1
        self.side = nn.Identity() if same else nn.Conv2d(inputs, outputs, 1, stride, bias=False)
        self.residual, self.neuron = residual, IF(reset="subtract", threshold=threshold)
        self.pool = {"none": nn.Identity, "average": lambda: nn.AvgPool2d(2, ceil_mode=False), "max": lambda: nn.MaxPool2d(3, 2, 1)}[pool]()

    def forward(self, x):
        y = self.conv(x)
        return self.pool(self.neuron(y + self.side(x) if self.residual else y))


def put_on_grid(net, seed):
    """Weights: whole 1/512s up to 127/512, which every channel has; biases whole 1/8192s. int8 holds them as they are."""
    draw = torch.Generator().manual_seed(seed)
    for module in net.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            weight = torch.randint(-100, 128, module.weight.shape, generator=draw)
            weight.flatten(1)[:, 0] = 127
            module.weight.data = weight / 512
            if module.bias is not None:
                module.bias.data = torch.randint(-999, 1000, module.bias.shape, generator=draw) / 8192
    return net.eval().requires_grad_(False)


@st.composite
def cases(draw):
    """A network, its input `[T, B, C, H, W]` of spikes, and a size of chunks."""
    width = st.integers(1, 6) | st.sampled_from([16, 33, 64, 70, 130])
    groups, last = draw(st.sampled_from([1, 1, 2, 3])), draw(width)
    sizes, blocks = [last], []
    height, across = draw(st.integers(8, 13)), draw(st.integers(8, 13))
    least = min(height, across)  # of the present map
    for _ in range(draw(st.integers(1, 3))):
        split = groups if last % groups == 0 else 1
        split = last if draw(st.integers(0, 5)) == 0 else split  # depthwise
        out = split * max(1, draw(width) // split)
        kind = draw(st.sampled_from([1, 3, 5])), draw(st.sampled_from([1, 1, 2])), split, draw(st.booleans())
        least = -(-least // kind[1])
        pool = draw(st.sampled_from(["none", "average", "max"])) if least > 1 else "none"
        least = least if pool == "none" else least // 2
        blocks.append(Block(last, out, *kind, pool, draw(st.sampled_from([0.25, 1.0, 2.0]))))
        sizes.append(out)
        last = out
    steps, batch = draw(st.integers(1, 5)), draw(st.integers(1, 5) | st.just(33))
    net = nn.Sequential(*blocks)
    with torch.no_grad():
        features = net.eval()(torch.zeros(1, sizes[0], height, across)).numel()
    net = put_on_grid(nn.Sequential(*blocks, nn.Flatten(), nn.Linear(features, 3)), draw(st.integers(0, 99)))
    share = draw(st.sampled_from([0.0, 0.05, 0.3, 1.0]))
    made = torch.Generator().manual_seed(draw(st.integers(0, 99)))
    x = (torch.rand(steps, batch, sizes[0], height, across, generator=made) < share).float()
    return net, x, draw(st.integers(1, 6))


@pytest.mark.parametrize("precision", ["float32", "int8"])
@given(case=cases())
def test_equal_to_the_snn(precision, case):
    net, x, chunk = case
    snn = SNN(net, len(x), None)
    runner, wanted = spikeloom.compile(snn, x, precision), snn(x)
    torch.testing.assert_close(runner(x), wanted, rtol=0, atol=0)
    runner.chunk = chunk
    torch.testing.assert_close(runner(x), wanted, rtol=0, atol=0)
    stream = runner.stream()
    torch.testing.assert_close(torch.stack([stream(step) for step in x]), wanted, rtol=0, atol=0)


@pytest.mark.parametrize("precision", ["float32", "int8"])
@pytest.mark.parametrize("share", [0.0, 1.0])
def test_silence_and_all_spikes_at_once(precision, share):
    """Every neuron silent, and every neuron firing at every step."""
    net = put_on_grid(nn.Sequential(Block(3, 70, 3, 1, 1, False, "max", 0.25), Block(70, 70, 3, 1, 1, True, "none", 0.25)), 0)
    for module in net.modules():
        if isinstance(module, nn.Conv2d):
            module.weight.abs_()
            module.bias = None
    x = torch.full((4, 33, 3, 5, 7), share)
    runner = spikeloom.compile(SNN(net, 4, None), x, precision)
    assert torch.equal(runner(x), torch.full((4, 33, 70, 3, 4), share))
