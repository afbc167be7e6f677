"""Plasticity by spike timing: rules as pure functions, and the network of Diehl and Cook, which learns without labels."""

from spikeloom.plasticity import diehl_cook, pair, reward, triplet
from spikeloom.plasticity.circuit import Circuit, Population
from spikeloom.plasticity.labels import assign, predict
from spikeloom.plasticity.network import Answers, Network
from spikeloom.plasticity.weights import fields, normalise

__all__ = [
    "Answers", "Circuit", "Network", "Population", "assign", "diehl_cook", "fields", "normalise", "pair", "predict", "reward", "triplet",
]  # fmt: skip
