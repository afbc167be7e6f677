"""Turns a neuron's `step` into running code. Knows no neuron: it sees `step`, the names of the states and the values."""

from spikeloom.engine.dispatch import backend, explain, run

__all__ = ["backend", "explain", "run"]
