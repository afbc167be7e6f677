from typing import Any

from torch import Tensor, nn

from spikeloom.convert.graph import ConversionError, Net
from spikeloom.convert.passes.base import Pass
from spikeloom.convert.vocabulary import MAX_POOLS

_AVERAGE = {nn.MaxPool1d: nn.AvgPool1d, nn.MaxPool2d: nn.AvgPool2d, nn.MaxPool3d: nn.AvgPool3d}


class AveragePools(Pass):
    """Max pools become average pools (Cao et al. 2015): linear, so that spikes add up; another function unless retrained."""

    requires = frozenset({"modules"})
    function = "changed"

    def apply(self, net: Net) -> tuple[list[str], dict[str, Tensor] | None]:
        touched = []
        for node, pool in list(net.calls(MAX_POOLS)):
            if pool.dilation not in (1, (1, 1)):
                raise ConversionError(f"{node.name} (layer {node.target!r}): a dilated max pool has no average; give pools='gate'")
            options: dict[str, Any] = {"stride": pool.stride, "padding": pool.padding, "ceil_mode": pool.ceil_mode}
            net.replace(node, _AVERAGE[type(pool)](pool.kernel_size, **options))
            touched.append(node.name)
        return touched, None
