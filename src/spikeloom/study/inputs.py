"""Images as a converted network takes them, and the network converted on some of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from spikeloom import data
from spikeloom.convert import Affine, Converted, convert, routes
from spikeloom.convert.passes import NameModules
from spikeloom.convert.take import take
from spikeloom.core.params import Choice
from spikeloom.core.progress import Progress, silent
from spikeloom.study.subjects import Subject

CALIBRATED = 1024


class Prepare:
    """uint8 images as the converted network takes them: in [0, 1] where spikes stand for pixels, else as the ANN was trained."""

    def __init__(self, images: data.ImageSet, given: str, pixels: str) -> None:
        Choice(("raw", "standardised")).check("convert --pixels", pixels)
        self.mean, self.std = images.mean, images.std
        self.raw = given != "current" or pixels == "raw"
        self.inside = self.raw and pixels == "standardised"

    def __call__(self, pixels: np.ndarray) -> Tensor:
        tensor = torch.from_numpy(np.array(pixels))
        return data.normalise(tensor) if self.raw else data.normalise(tensor, self.mean, self.std)

    def adapt(self, net: nn.Module) -> nn.Module:
        """The network for such images: where they stay in [0, 1], it standardises them itself."""
        if not self.inside:
            return net
        mean, std = torch.tensor(self.mean), torch.tensor(self.std)
        return nn.Sequential(Affine(1 / std, -mean / std), net)


class Ready(NamedTuple):
    """A network converted for an image set. net: the ANN for the inputs that `prepare` makes; calibrated: inputs it was converted with."""

    snn: Converted
    net: nn.Module
    prepare: Prepare
    calibrated: Tensor


def ready(
    one: Subject, method: str, images: data.ImageSet, steps: int, *, seed: int = 0, calibration: int = CALIBRATED,
    options: Mapping[str, Any] | None = None, progress: Progress = silent,
) -> Ready:  # fmt: skip
    """The network converted, on training images that `seed` chooses; the arguments are those of `study`."""
    prepare = Prepare(images, routes.load(method, options).input, one.pixels)
    net = prepare.adapt(_plain(one.net, prepare(images.train_images[:2])))
    inputs = calibration_inputs(images, prepare, seed, calibration)
    torch.manual_seed(seed)
    snn = convert(net, method, inputs, steps, progress=progress, **(options or {}))
    return Ready(snn.to(memory_format=torch.channels_last), net, prepare, inputs)  # pools are eight times as fast, convolutions twice


def calibration_inputs(images: data.ImageSet, prepare: Callable[[np.ndarray], Tensor], seed: int, count: int) -> Tensor:
    """`count` training images that `seed` chooses, none of the validation split, as the network takes them."""
    train, _ = data.split(images.train_labels, images.validation)
    return prepare(images.train_images[np.sort(np.random.default_rng(seed).permutation(train)[:count])])


def _plain(net: nn.Module, sample: Tensor) -> nn.Module:
    """The network as modules: what torch.export wrote for one size of batch takes any."""
    taken = take(net, sample)
    NameModules().run(taken)
    return taken.module
