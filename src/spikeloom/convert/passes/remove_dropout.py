from torch import Tensor

from spikeloom.convert.graph import ConversionError, Net
from spikeloom.convert.passes.base import Pass
from spikeloom.convert.vocabulary import DROPOUTS, SOFTMAXES


class RemoveDropout(Pass):
    """Dropout, identities and the final softmax go: dropout is for training, and the largest membrane is that of the largest softmax."""

    requires = frozenset({"modules"})
    provides = frozenset({"plain"})
    function = "changed"  # the softmax

    def apply(self, net: Net) -> tuple[list[str], dict[str, Tensor] | None]:
        touched = []
        for node, module in list(net.calls((*DROPOUTS, *SOFTMAXES))):
            if isinstance(module, SOFTMAXES) and any(user.op != "output" for user in node.users):
                advice = "only a softmax at the very end can be read from the membrane; put something else in its place"
                raise ConversionError(f"{node.name} (layer {node.target!r}, {type(module).__name__}): has no spiking form here; {advice}")
            touched.append(node.name)
            net.remove(node)
        return touched, None
