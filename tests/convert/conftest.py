"""Random ReLU networks and what the passes do to them."""

import pytest
import torch
from torch import nn

from spikeloom.convert import passes
from spikeloom.convert.take import take


class Residual(nn.Module):
    """x + f(x), the activation after it shared by whoever is given it."""

    def __init__(self, body, act, short=None):
        super().__init__()
        self.body, self.act, self.short = body, act, short

    def forward(self, x):
        return self.act(self.body(x) + (x if self.short is None else self.short(x)))


class Concat(nn.Module):
    """Branches side by side, and x itself."""

    def __init__(self, *branches):
        super().__init__()
        self.branches = nn.ModuleList(branches)

    def forward(self, x):
        return torch.cat([x, *(branch(x) for branch in self.branches)], 1)


def norms(model):
    """Running statistics and affine parameters as after a training."""
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.running_mean.normal_(0, 0.5)
            module.running_var.uniform_(0.3, 2)
            if module.affine:
                nn.init.uniform_(module.weight, -1.5, 1.5)
                nn.init.normal_(module.bias, 0, 0.3)
    return model.eval()


def tiny(name):
    """The four nets of the golden texts."""
    act = nn.ReLU()
    conv = lambda a, b: nn.Conv2d(a, b, 3, padding=1)  # noqa: E731
    body = {
        "chain": [conv(2, 3), nn.BatchNorm2d(3), nn.ReLU(), nn.MaxPool2d(2), nn.Dropout()],
        "residual": [conv(2, 3), nn.ReLU(), Residual(nn.Sequential(conv(3, 3), nn.BatchNorm2d(3)), nn.ReLU()), nn.AvgPool2d(2)],
        "concat": [conv(2, 3), nn.ReLU(), Concat(nn.Sequential(conv(3, 2), nn.ReLU())), nn.BatchNorm2d(5), nn.ReLU(), nn.AvgPool2d(2)],
        "shared": [conv(2, 3), act, conv(3, 3), act, nn.AvgPool2d(2)],
    }[name]
    features = 5 if name == "concat" else 3
    return norms(nn.Sequential(*body, nn.Flatten(), nn.Linear(4 * features, 2), nn.Softmax(1)))


def relative(a, b):
    """Largest difference relative to the size of b."""
    return float((a - b).abs().max() / b.abs().max())


def random_scales(net, generator):
    """One positive number, or one per channel, for each activation."""
    scales = {}
    for node, _ in net.activations():
        many = torch.rand((), generator=generator) < 0.5
        shape = (net.shape(node)[1],) if many else ()
        scales[node.name] = torch.exp(torch.randn(shape, generator=generator, dtype=net.sample.dtype))
    return scales


def stages(model, x, generator=None):
    """`(name of the pass, net)` after each pass that keeps the function; PlaceScales with random positive scales."""
    net = take(model, x)
    for name in ("NameModules", "SplitShared", "RemoveDropout", "FoldNorms", "PlaceScales", "AbsorbScales"):
        options = (random_scales(net, generator or torch.Generator().manual_seed(0)),) if name == "PlaceScales" else ()
        passes.known[name](*options).run(net)
        yield name, net


@pytest.fixture
def convert():
    """The helpers above, for the tests beside."""

    class Helpers:
        pass

    for helper in (Residual, Concat, norms, tiny, relative, random_scales, stages):
        setattr(Helpers, helper.__name__, staticmethod(helper))
    return Helpers
