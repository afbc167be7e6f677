"""The compiled network against the equations, spike for spike, and what must not depend on how it is run."""

import dataclasses

import pytest
import torch

from spikeloom.core.errors import ParameterError, ShapeError
from spikeloom.engine.cache import CannotCompile, compiler
from spikeloom.plasticity import Circuit, Network, Population
from spikeloom.plasticity import network as module

# strong synapses and short images, so that a few cells fire, win and learn within a second
SMALL = Circuit(inputs=20, neurons=6, image=120.0, rest=30.0, total=40.0, least=3, attempts=3, theta=10.0, rule=module.diehl_cook.Constants(high=9.0))


def images(count, inputs=20, seed=0):
    x = torch.randint(0, 256, (count, inputs), generator=torch.Generator().manual_seed(seed)).to(torch.uint8)
    x[:, ::4] = 0
    return x
