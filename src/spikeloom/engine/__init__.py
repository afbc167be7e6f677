"""Turns a neuron's `step` into running code. Knows no neuron: it sees `step`, the names of the states and the values."""

from spikeloom.engine import reference
from spikeloom.engine.allocator import tune_allocator
from spikeloom.engine.dispatch import SlowBackend, backend, explain, run
from spikeloom.engine.trace import CannotFuse, CannotPack

__all__ = ["CannotFuse", "CannotPack", "SlowBackend", "backend", "explain", "reference", "run", "tune_allocator"]
