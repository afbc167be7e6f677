from collections.abc import Mapping

from torch import Tensor, fx

from spikeloom.convert.affine import along
from spikeloom.convert.graph import ConversionError, Net
from spikeloom.convert.passes.base import Pass
from spikeloom.convert.simulate import Trial
from spikeloom.neurons import Integrator, Neuron


class CorrectPotential(Pass):
    """Each neuron's initial potential gets T times what its mean rate lacks of the ANN's mean activation (Li et al. 2021)."""

    requires = frozenset({"spiking"})
    function = "changed"

    def __init__(self, trial: Trial) -> None:
        self.trial = trial

    def apply(self, net: Net) -> tuple[list[str], Mapping[str, Tensor] | None]:
        wanted, touched = self.trial.activations(), []

        def correct(node: fx.Node, neuron: Neuron, rate: Tensor) -> None:
            if not isinstance(neuron, Integrator):
                advice = "give corrections=('bias',) or another neuron"
                raise ConversionError(f"{node.name}: {type(neuron).__name__} has no initial potential per neuron; {advice}")
            unit = along(net.scales[node.name] / neuron.threshold, rate.dim())
            lacking = (wanted[node.name] / unit - rate * along(neuron.threshold, rate.dim())).mean(0)
            old = neuron.potential
            neuron.potential = self.trial.steps * lacking if old is None else old + self.trial.steps * lacking
            touched.append(node.name)

        self.trial.run(net, correct)
        return touched, None
