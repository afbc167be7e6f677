"""What a network does and costs: accuracy by steps, spikes, operations, energy, samples, and the distance from an ANN."""

from spikeloom.measure.accuracy import Accuracy, Tally, accuracy
from spikeloom.measure.activity import activity
from spikeloom.measure.energy import energy, energy_of
from spikeloom.measure.fidelity import fidelity
from spikeloom.measure.operations import operations, operations_by_step
from spikeloom.measure.samples import sample

__all__ = ["Accuracy", "Tally", "accuracy", "activity", "energy", "energy_of", "fidelity", "operations", "operations_by_step", "sample"]
