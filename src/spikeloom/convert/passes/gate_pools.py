from typing import Any

from torch import Tensor, nn

from spikeloom.convert.graph import ConversionError, Net
from spikeloom.convert.passes.base import Pass
from spikeloom.convert.vocabulary import MAX_POOLS
from spikeloom.nn.pool import SpikingMaxPool2d


class GatePools(Pass):
    """Max pools of spikes: passes as in `SpikingMaxPool2d`, `"leader"` after Rueckauer et al. (2017)."""

    requires = frozenset({"modules", "absorbed"})
    function = "changed"

    def __init__(self, passes: str = "leader") -> None:
        self.passes = passes

    def apply(self, net: Net) -> tuple[list[str], dict[str, Tensor] | None]:
        touched = []
        for node, pool in list(net.calls(MAX_POOLS)):
            if not isinstance(pool, nn.MaxPool2d):
                raise ConversionError(f"{node.name} (layer {node.target!r}): only 2-d max pools have a gate; give pools='average'")
            options: dict[str, Any] = {"padding": pool.padding, "dilation": pool.dilation, "ceil_mode": pool.ceil_mode}
            gate = SpikingMaxPool2d(pool.kernel_size, pool.stride, **options, passes=self.passes)
            gate.steps = 1  # until an SNN sets it
            net.replace(node, gate)
            touched.append(node.name)
        return touched, None
