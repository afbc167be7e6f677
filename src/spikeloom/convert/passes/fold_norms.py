import torch
from torch import Tensor

from spikeloom.convert.affine import Affine
from spikeloom.convert.graph import Net
from spikeloom.convert.passes.base import Pass
from spikeloom.convert.vocabulary import NORMS, WEIGHTED, scale_outputs, shift_outputs


class FoldNorms(Pass):
    """A batch norm goes into the convolution or linear layer before it; where another one reads that layer too, or none is there, it
    becomes a scale and a shift per channel (Rueckauer et al. 2017: W' = gamma W / sigma, b' = gamma (b - mu) / sigma + beta)."""

    requires = frozenset({"modules", "unshared", "plain"})
    provides = frozenset({"folded"})

    @torch.no_grad()
    def apply(self, net: Net) -> tuple[list[str], dict[str, Tensor] | None]:
        touched = []
        for node, norm in list(net.calls(NORMS)):
            scale = torch.rsqrt(norm.running_var + norm.eps)
            shift = -norm.running_mean * scale
            if norm.affine:
                scale, shift = scale * norm.weight, shift * norm.weight + norm.bias
            touched.append(node.name)
            source = node.args[0]
            layer = net.of(source)
            if isinstance(layer, WEIGHTED) and len(source.users) == 1:
                scale_outputs(layer, scale)
                shift_outputs(layer, shift)
                net.remove(node)
            else:
                net.replace(node, Affine(scale.clone(), shift.clone()))
        return touched, None
