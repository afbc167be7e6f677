"""What a training step is measured on: network, weights, input and labels, the same in every process."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from spikeloom import data
from spikeloom.bench import nets, rivals
from spikeloom.bench.race import bar
from spikeloom.core.errors import ParameterError, SpikeloomError, refusal
from spikeloom.core.params import Choice
from spikeloom.nn.losses import known as losses
from spikeloom.nn.snn import SNN

RELU = "relu"
GATED = 2  # images in the gate's batch
RATE = 1e-3  # of Adam, while a network is trained before it is timed


@dataclass(frozen=True)
class Options:
    """channels: of the stages, () for the model's own; for the layer its one width, and `side`. neuron: a name, or "own" for the model's.
    data: "" for random input and weights, or an image set: images of its training part, after `updates` of the weights on others.
    reference, peak, where: whether to run our reference loop too, and to measure memory and shares."""

    model: str = "ds_resnet20"
    channels: tuple[int, ...] = ()
    neuron: str = "LIF"
    batch: int = 32
    steps: int = 4
    side: int = 32
    precision: str = "32"
    channels_last: str = "no"
    data: str = ""
    updates: int = 0
    data_dir: str | None = None
    reference: str = "no"
    peak: str = "yes"
    where: str = "yes"

    def __post_init__(self) -> None:
        if not self.channels:
            object.__setattr__(self, "channels", nets.KNOWN.get(self.model, (None, (64,)))[1])
        for name in ("batch", "steps", "side", *self.channels):
            value = getattr(self, name) if isinstance(name, str) else name
            if value < 1:
                raise ParameterError(refusal(f"bench --{name if isinstance(name, str) else 'channels'}", value, "at least 1"))
        if self.updates < 0 or (self.updates and not self.data):
            given = f"{self.updates}, --data {self.data!r}"
            raise ParameterError(refusal("bench --updates", given, "at least 0, and 0 without --data", "name an image set to learn from"))
        Choice(("32", "bf16")).check("bench --precision", self.precision)
        for name in ("channels_last", "reference", "peak", "where"):
            Choice(("yes", "no")).check(f"bench --{name.replace('_', '-')}", getattr(self, name))


class Step:
    """One training step of `net`, which takes `[T, B, ...]`: loss and gradients."""

    def __init__(self, net: nn.Module, x: Tensor, labels: Tensor, precision: str = "32") -> None:
        self.net, self.x, self.labels, self.precision = net, x, labels, precision

    def forward(self) -> Tensor:
        """The loss."""
        half = torch.autocast(self.x.device.type, torch.bfloat16) if self.precision == "bf16" else nullcontext()
        with half:
            outputs = self.net(self.x)
        outputs = outputs.float() if self.precision == "bf16" else outputs
        if outputs.dim() > 3:  # a layer: the mean over its map
            outputs = outputs.flatten(3).mean(3)
        return losses["mean_cross_entropy"](outputs, self.labels % outputs.shape[2])

    def __call__(self) -> Tensor:
        """The loss, with the gradients left in the parameters."""
        self.net.zero_grad(set_to_none=True)
        loss = self.forward()
        loss.backward()
        return loss


class Twin(nn.Module):
    """The network with ReLU, over `[T, B, ...]` as one batch of T*B."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = nets.replaced(net, nn.ReLU)

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x.flatten(0, 1)).unflatten(0, x.shape[:2])


class Problem:
    """Network, input and labels of `options`, the same in every process."""

    def __init__(self, options: Options, device: torch.device) -> None:
        torch.manual_seed(0)
        self.options, self.device = options, device
        if options.model == "layer":
            net, shape = nets.layer(options.channels, options.side)
            net = net if options.neuron == "own" else nets.replaced(net, lambda: nets.load(options.neuron))
        else:
            net, shape = nets.build(options.model, options.channels, options.neuron)
        self.net, self.shape = net.to(device), shape
        self.images = data.load(options.data, options.data_dir) if options.data else None
        if self.images is not None and tuple(self.images.train_images.shape[1:]) != tuple(shape):
            given = f"{options.data} of {list(self.images.train_images.shape[1:])}"
            raise ParameterError(refusal("bench --data", given, f"images of {list(shape)} for {options.model}"))
        if options.updates:
            self._learn(options.updates)

    def batch(self, size: int, dtype: torch.dtype = torch.float32, first: int = 0) -> tuple[Tensor, Tensor]:
        """Input `[T, B, C, H, W]`, each image the same at all steps, and labels `[B]`. first: of the images that are taken."""
        if self.images is None:
            generator = torch.Generator().manual_seed(1)
            images = torch.randn(size, *self.shape, generator=generator, dtype=torch.float32)
            labels = torch.randint(0, 10, (size,), generator=generator)
        else:
            rows = np.arange(first, first + size) % len(self.images.train_labels)
            pixels = torch.from_numpy(self.images.train_images[rows])
            images = data.normalise(pixels, self.images.mean, self.images.std)
            labels = torch.from_numpy(self.images.train_labels[rows]).long()
        folded = images.repeat(self.options.steps, 1, 1, 1).to(self.device, dtype)
        if self.options.channels_last == "yes":
            folded = folded.contiguous(memory_format=torch.channels_last)
        return folded.unflatten(0, (self.options.steps, size)), labels.to(self.device)

    def _learn(self, updates: int) -> None:
        """Cross-entropy of the mean output, Adam; the images that are timed come first in the set and are left out."""
        size, skipped = self.options.batch, max(self.options.batch, GATED)
        snn = SNN(self.net, steps=self.options.steps, encoder=None, engine="auto")
        optimiser = torch.optim.Adam(self.net.parameters(), RATE)
        with bar("training", updates, True) as step:
            for k in range(updates):
                loss = Step(snn, *self.batch(size, first=skipped + k * size))()
                optimiser.step()
                step("updates", 1)
        if not torch.isfinite(loss):
            raise SpikeloomError(f"bench --updates: the loss is {loss.item()} after {updates} updates")

    def made(self, impl: str) -> nn.Module:
        """The network by `impl`, over `[T, B, ...]`, with the problem's weights. Raises Unavailable."""
        net = Twin(self.net) if impl == RELU else contenders()[impl].network(self.net)
        net = net.to(self.device)
        return net.to(memory_format=torch.channels_last) if self.options.channels_last == "yes" else net

    def step(self, impl: str, size: int | None = None) -> Step:
        """The training step of `impl`, ready to run."""
        return Step(self.made(impl), *self.batch(size or self.options.batch), self.options.precision)


def contenders() -> dict[str, rivals.Rival]:
    """Every registered implementation by its name."""
    return {cls.impl: cls() for cls in rivals.known.values()}
