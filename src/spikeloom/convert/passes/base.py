"""What a pass is: one small rewriting of the graph that says what it needs and what holds afterwards."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from torch import Tensor

from spikeloom.convert.graph import ConversionError, Net

FACTS = {
    "modules": "every node is a call of a module of the vocabulary, an addition of two tensors or a concatenation along axis 1",
    "unshared": "every module is called once",
    "plain": "no dropout, identity or final softmax",
    "folded": "no batch norm; what no weight could take up is an Affine",
    "scaled": "each activation works in units of its scale, with an Affine before and after it",
    "absorbed": "these Affines are in the weights, but for those that no weight can take up",
    "spiking": "neurons in place of activations",
}


class Pass:
    """A rewriting of a `Net`, in place.

    requires, provides: names of FACTS. function: `"kept"` where the network computes the same up to rounding, `"changed"` where not.
    """

    requires: ClassVar[frozenset[str]] = frozenset()
    provides: ClassVar[frozenset[str]] = frozenset()
    function: ClassVar[str] = "kept"

    @property
    def name(self) -> str:
        """The name in the ledger: the class's, as words."""
        return "".join(f"_{c.lower()}" if c.isupper() else c for c in type(self).__name__).lstrip("_")

    def apply(self, net: Net) -> tuple[list[str], Mapping[str, Tensor] | None]:
        """Rewrite; the names of the nodes touched, and scales by node name where the pass sets any."""
        raise NotImplementedError

    def run(self, net: Net) -> tuple[list[str], Mapping[str, Tensor] | None]:
        """`apply` with its requirements checked and the graph's code written anew."""
        missing = self.requires - net.facts
        if missing:
            raise ConversionError(f"{self.name}: needs a graph where {'; '.join(FACTS[fact] for fact in sorted(missing))}")
        done = self.apply(net)
        net.facts |= self.provides
        net.compiled()
        return done
