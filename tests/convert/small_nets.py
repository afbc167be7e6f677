"""Small networks of every shape that a scale travels through, and cases made of them."""

import copy

import torch
from torch import fx, nn

from spikeloom.convert.graph import Batches, Net
from spikeloom.convert.normalisers import Case
from spikeloom.convert.passes import FoldNorms, PoolNeurons, RemoveDropout, SplitShared
from spikeloom.neurons import IF
from spikeloom.nn.activations import QCFS
from spikeloom.nn.encoders import Bernoulli


def chain(*weights, activation=nn.ReLU):
    """Linear layers without biases, an activation behind each."""
    layers = []
    for weight in weights:
        weight = torch.tensor(weight, dtype=torch.get_default_dtype())
        layers.append(nn.Linear(weight.shape[1], weight.shape[0], bias=False))
        layers[-1].weight = nn.Parameter(weight)
        layers.append(activation())
    return nn.Sequential(*layers)


class Branches(nn.Module):
    """A convolution, a residual block with a projection, a concatenation, pools and a linear layer."""

    def __init__(self, activation=nn.ReLU):
        super().__init__()
        self.stem, self.norm = nn.Conv2d(2, 4, 3, padding=1, bias=False), nn.BatchNorm2d(4)
        self.first, self.second = nn.Conv2d(4, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1)
        self.left, self.right, self.project = nn.Conv2d(4, 3, 1), nn.Conv2d(4, 5, 3, padding=1), nn.Conv2d(4, 8, 1)
        self.acts = nn.ModuleList(activation() for _ in range(6))
        self.pool, self.flat, self.head = nn.AvgPool2d(2), nn.Flatten(), nn.Linear(8 * 4, 3)
        self.norm.running_mean.normal_()
        self.norm.running_var.uniform_(0.5, 2)

    def forward(self, x):
        x = self.acts[0](self.norm(self.stem(x)))
        y = self.acts[2](torch.add(self.second(self.acts[1](self.first(x))), x))
        y = torch.cat([self.acts[3](self.left(y)), self.acts[4](self.right(y))], 1)
        y = self.acts[5](torch.add(y, self.project(x)))
        return self.head(self.flat(self.pool(y)))


class _Tracer(fx.Tracer):
    def is_leaf_module(self, m, module_qualified_name):
        return isinstance(m, QCFS) or super().is_leaf_module(m, module_qualified_name)


def net(model, sample, pools=False):
    """The graph that a normaliser sees; the model stays as it is."""
    model = copy.deepcopy(model).eval()
    made = Net(fx.GraphModule(model, _Tracer().trace(model)), sample, {"modules"})
    for step in (SplitShared(), RemoveDropout(), FoldNorms(), *([PoolNeurons()] if pools else [])):
        step.run(made)
    return made


def case(model, data, steps=16, encoder=None, pools=False, sample=None):
    """A case with IF neurons; Bernoulli input unless told otherwise."""
    batches = data if isinstance(data, Batches) else Batches(data, 7)
    return Case(
        net(model, data[:2] if sample is None else sample, pools), batches, steps, encoder or Bernoulli(),
        lambda activation, threshold: IF(reset="subtract", threshold=threshold),
    )  # fmt: skip


def scales(found):
    """The numbers, in order."""
    return [value.item() for value in found.values()]
