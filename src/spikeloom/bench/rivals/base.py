"""What a rival is: another implementation of the same equations, and how to call it."""

from __future__ import annotations

import importlib
import importlib.metadata
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor, nn

from spikeloom.core.errors import SpikeloomError
from spikeloom.neurons import Neuron
from spikeloom.nn.snn import SNN


class Unavailable(SpikeloomError):
    """This rival cannot take part; the text says why."""


@dataclass(frozen=True)
class Contender:
    """One implementation, ready to run.

    call: x `[T, N]` to spikes `[T, N]`, from a fresh state at every call.
    oracle: the neuron whose equations the gate holds it to. learned: what it trains, in the order of the oracle's parameters.
    fixed: its constants, which are not memory that a forward pass keeps.
    """

    impl: str
    call: Callable[[Tensor], Tensor]
    oracle: Neuron
    learned: tuple[Tensor, ...] = ()
    fixed: tuple[Tensor, ...] = ()
    backend: str = ""
    note: str = ""


@dataclass(frozen=True)
class Evaluator:
    """A converted network that answers. run: images `[B, ...]` and T to the mean output `[B, classes]` of T steps, from a fresh state.

    net, neuron: the module whose calls can be watched, and the class of its spiking neurons. precision: of its layers.
    """

    impl: str
    run: Callable[[Tensor, int], Tensor]
    net: nn.Module
    neuron: type[nn.Module]
    precision: str = "float32"
    note: str = ""


class Rival:
    """Base of the implementations that a benchmark compares. The default is one that is part of this library."""

    impl: ClassVar[str]
    # what pip calls it, with the version tried; "" for our own
    requirement: ClassVar[str] = ""
    module: ClassVar[str] = ""

    def available(self) -> tuple[str | None, str]:
        """`(version, "")`, or `(None, reason)` when it cannot be imported."""
        if not self.requirement:
            return importlib.import_module("spikeloom").__version__, ""
        name = self.requirement.partition("==")[0]
        try:
            version = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            return None, f"not installed; pip install --no-deps {self.requirement}"
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of theirs about torch
                importlib.import_module(self.module)
        except ImportError as error:
            lacking = f"; pip install --no-deps {error.name}" if isinstance(error, ModuleNotFoundError) else ""
            return None, f"{name} {version} cannot be imported ({error}){lacking}"
        return version, ""

    def neuron(self, kind: Neuron) -> Contender:
        """This implementation of `kind`, on kind's device. Raises Unavailable where it has no equivalent."""
        raise Unavailable(f"{self.impl} has no {type(kind).__name__}")

    def network(self, net: nn.Module) -> nn.Module:
        """`net`, a module over `[T*B, ...]`, with the same weights as a module over `[T, B, ...]` that starts fresh at every call.

        Raises Unavailable where it has no equivalent.
        """
        raise Unavailable(f"{self.impl} takes no part in networks")

    def convert(self, ann: nn.Module, batches: list[Tensor]) -> nn.Module:
        """`ann` converted, its scales the layers' largest activations on `batches` of `[B, ...]`. Raises Unavailable where it cannot."""
        raise Unavailable(f"{self.impl} converts no networks")

    def evaluators(self, converted: nn.Module) -> list[Evaluator]:
        """The ways to run what `convert` gave."""
        return []


class OverTime(nn.Module):
    """An SNN over `[T, B, ...]` that takes T from its input."""

    def __init__(self, snn: SNN) -> None:
        super().__init__()
        self.snn = snn

    def forward(self, x: Tensor) -> Tensor:
        self.snn.steps = x.shape[0]
        return self.snn(x)


def constants(neuron: Neuron) -> dict[str, float]:
    """The neuron's parameters as numbers, `tau` of its decay among them. Raises Unavailable for values per channel."""
    found = {name: value.detach() for name, value in neuron.values().items()}
    if any(value.numel() > 1 for value in found.values()):
        raise Unavailable("values per channel are not compared")
    numbers = {name: value.item() for name, value in found.items()}
    if "decay" in numbers and numbers["decay"] < 1:
        numbers["tau"] = 1 / (1 - numbers["decay"])
    return numbers


def hard_leaky(neuron: Neuron, impl: str) -> dict[str, float]:
    """`constants` of the one LIF that all libraries share: leak-scaled drive, hard reset, ATan at alpha 2.

    Raises Unavailable for any other neuron.
    """
    same = type(neuron).__name__ == "LIF" and neuron.drive == "leak_scaled" and neuron.reset == "zero"
    if not same or repr(neuron.surrogate) != "ATan(alpha=2)":
        raise Unavailable(f"{impl} is compared on LIF(tau=..., surrogate='atan') with a hard reset; this is another neuron")
    return constants(neuron)
