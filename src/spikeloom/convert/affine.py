"""A scale and a shift per channel: what is left of a norm or of a change of scale that no weight could take up."""

from __future__ import annotations

from torch import Tensor, nn


class Affine(nn.Module):
    """x * scale + shift along axis 1. scale, shift: a number or `[C]`; shift may be None. x `[B, C, ...]`, same shape out."""

    scale: Tensor
    shift: Tensor | None

    def __init__(self, scale: Tensor, shift: Tensor | None = None) -> None:
        super().__init__()
        self.register_buffer("scale", scale)
        self.register_buffer("shift", shift)

    def forward(self, x: Tensor) -> Tensor:
        y = x * along(self.scale, x.dim())
        return y if self.shift is None else y + along(self.shift, x.dim())

    def extra_repr(self) -> str:
        return f"channels={self.scale.numel()}, shift={'none' if self.shift is None else 'yes'}"


class Clip(nn.Module):
    """clamp(x, 0, cap): a ReLU6 or a clamp in other units. cap: a number or `[C]`; x `[B, C, ...]`, same shape out."""

    cap: Tensor

    def __init__(self, cap: Tensor) -> None:
        super().__init__()
        self.register_buffer("cap", cap)

    def forward(self, x: Tensor) -> Tensor:
        return x.clamp(min=0).minimum(along(self.cap, x.dim()))


def along(value: Tensor, dim: int) -> Tensor:
    """`value` (0-d or `[C]`) viewed so that it broadcasts along axis 1 of a tensor of `dim` axes."""
    return value if value.dim() == 0 else value.view(-1, *[1] * (dim - 2))
