"""What a network does and costs: spikes, operations, energy, samples."""

from spikeloom.measure.activity import activity
from spikeloom.measure.energy import energy
from spikeloom.measure.operations import operations
from spikeloom.measure.samples import sample

__all__ = ["activity", "energy", "operations", "sample"]
