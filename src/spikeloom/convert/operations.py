"""Functional forms as modules of the vocabulary: one builder for each operation, under the name torch gives it.

A builder takes x and out, shapes on the meta device of the operation's input and result, and the operation's other arguments; it gives
the modules to call in its place, one after the other, and raises `Unfit` where none would do the same.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from spikeloom.convert.affine import Affine

Built = tuple[nn.Module, ...]


class Unfit(Exception):
    """Why an operation has no module, and what to do."""


def _of(kind: str, x: Tensor) -> Callable[..., nn.Module]:
    """The 1-, 2- or 3-d class of a kind for `x [B, C, ...]`."""
    if not 3 <= x.dim() <= 5:
        raise Unfit(f"its input is {tuple(x.shape)}; must be [B, C, ...] with one to three axes of space")
    return getattr(nn, f"{kind}{x.dim() - 2}d")


def relu(x: Tensor, out: Tensor, inplace: bool = False) -> Built:
    """`max(x, 0)`."""
    return (nn.ReLU(),)


def relu6(x: Tensor, out: Tensor, inplace: bool = False) -> Built:
    """`min(max(x, 0), 6)`."""
    return (nn.ReLU6(),)


def leaky_relu(x: Tensor, out: Tensor, negative_slope: float = 0.01, inplace: bool = False) -> Built:
    """x, where it is negative times `negative_slope`."""
    return (nn.LeakyReLU(negative_slope),)


def hardtanh(x: Tensor, out: Tensor, min_val: float = -1.0, max_val: float = 1.0, inplace: bool = False) -> Built:
    """x held between two numbers; whether a spike count can be such is the passes' to say."""
    return (nn.Hardtanh(min_val, max_val),)


def clamp(x: Tensor, out: Tensor, min: float | None = None, max: float | None = None) -> Built:
    """x held above 0, or between 0 and a number."""
    if isinstance(min, Tensor) or isinstance(max, Tensor) or min != 0:
        raise Unfit(f"clamps between {min} and {max}; the lower end must be 0, as of a spike count; train with ReLU or ReLU6 in its place")
    return (nn.ReLU(),) if max is None else (nn.Hardtanh(0.0, float(max)),)


def clamp_min(x: Tensor, out: Tensor, min: float) -> Built:
    """x held above 0."""
    return clamp(x, out, min)


def max_pool(
    x: Tensor, out: Tensor, kernel_size: Any, stride: Any = None, padding: Any = 0, dilation: Any = 1, ceil_mode: bool = False,
    return_indices: bool = False,
) -> Built:  # fmt: skip
    """The largest of each window, of one to three axes of space."""
    return (_of("MaxPool", x)(kernel_size, stride or None, padding, dilation, return_indices, ceil_mode),)


def avg_pool(
    x: Tensor, out: Tensor, kernel_size: Any, stride: Any = None, padding: Any = 0, ceil_mode: bool = False,
    count_include_pad: bool = True, divisor_override: int | None = None,
) -> Built:  # fmt: skip
    """The mean of each window, of one to three axes of space."""
    options = {} if divisor_override is None else {"divisor_override": divisor_override}
    return (_of("AvgPool", x)(kernel_size, stride or None, padding, ceil_mode, count_include_pad, **options),)


def adaptive_avg_pool(x: Tensor, out: Tensor, output_size: Any) -> Built:
    """Means of as many windows as the result has pixels."""
    return (_of("AdaptiveAvgPool", x)(tuple(out.shape[2:])),)


def mean(x: Tensor, out: Tensor, dim: Any = None, keepdim: bool = False, dtype: Any = None, axis: Any = None) -> Built:
    """A mean over axes of space, as a pool of one window, flattened where the axes go."""
    dims = dim if dim is not None else axis
    axes = {d % x.dim() for d in ([dims] if isinstance(dims, int) else dims or range(x.dim()))}
    if axes & {0, 1}:
        raise Unfit(f"a mean over the axes {sorted(axes)} of {tuple(x.shape)}; only axes of space (2 and on) may be averaged")
    sizes = tuple(1 if k in axes else n for k, n in enumerate(x.shape) if k > 1)
    pool = _of("AdaptiveAvgPool", x)(sizes)
    return (pool,) if keepdim else (pool, *reshape(x.new_empty(*x.shape[:2], *sizes), out))


def reshape(x: Tensor, out: Tensor, *sizes: Any, **named: Any) -> Built:
    """Whatever the sizes given: what the shapes say happened."""
    if x.shape == out.shape:
        return ()
    for first in range(1, x.dim()):
        for last in range(first, x.dim()):
            if x.flatten(first, last).shape == out.shape:
                return (nn.Flatten(first, last),)
    raise Unfit(f"{tuple(x.shape)} becomes {tuple(out.shape)}; only flattening, with the batch on axis 0 left alone, is known")


def same(x: Tensor, out: Tensor, *options: Any, **named: Any) -> Built:
    """Nothing: the value stays as it is."""
    if x.shape != out.shape or x.dtype != out.dtype:
        raise Unfit(f"{tuple(x.shape)} of {x.dtype} becomes {tuple(out.shape)} of {out.dtype}; convert inputs and weights before")
    return ()


def dropout(x: Tensor, out: Tensor, p: float = 0.5, training: bool | None = None, inplace: bool = False, train: bool = True) -> Built:
    """A dropout, off in evaluation; refused where it would drop there too."""
    if train if training is None else training:
        raise Unfit("drops in evaluation mode too; give F.dropout training=self.training, and call eval() before torch.export")
    return (nn.Dropout(p),)


def pad(x: Tensor, out: Tensor, pad: Any, mode: str = "constant", value: float | None = None) -> Built:
    """Zeros around the axes of space."""
    space = 2 * (x.dim() - 2)
    if mode != "constant" or value or any(pad[space:]):
        given = f"pads by {tuple(pad)} with mode={mode!r}, value={value}"
        raise Unfit(f"{given}; only zeros on axes of space; for new channels, a 1x1 convolution")
    return (_of("ZeroPad", x)((*pad[:space], *[0] * (space - len(pad)))),)


def softmax(x: Tensor, out: Tensor, dim: int | None = None, *options: Any, **named: Any) -> Built:
    """Shares that sum to 1."""
    return (nn.Softmax(dim),)


def log_softmax(x: Tensor, out: Tensor, dim: int | None = None, *options: Any, **named: Any) -> Built:
    """The logarithms of `softmax`."""
    return (nn.LogSoftmax(dim),)


def interpolate(
    x: Tensor, out: Tensor, size: Any = None, scale_factor: Any = None, mode: str = "nearest", align_corners: bool | None = None,
    recompute_scale_factor: bool | None = None, antialias: bool = False,
) -> Built:  # fmt: skip
    """A larger or smaller image."""
    if antialias:
        raise Unfit("antialias=True has no module; upsample without")
    size, scale_factor = (tuple(v) if isinstance(v, list) else v for v in (size, scale_factor))
    return (nn.Upsample(size, scale_factor, mode, align_corners, recompute_scale_factor),)


def upsample(mode: str) -> Callable[..., Built]:
    """torch.export's form of `interpolate`: sizes, corners where lines are drawn between values, factors."""

    def build(x: Tensor, out: Tensor, output_size: Any, *rest: Any) -> Built:
        corners = rest[0] if "linear" in mode else None
        factors = rest[1:] if "linear" in mode else rest
        return interpolate(x, out, output_size, factors[0] if len(factors) == 1 else None, mode, corners)

    return build


def convolution(kind: str) -> Callable[..., Built]:
    """A builder of convolutions, `"plain"` or `"transposed"`."""

    def build(
        x: Tensor, out: Tensor, weight: Tensor, bias: Tensor | None = None, stride: Any = 1, padding: Any = 0, dilation: Any = 1,
        groups: int = 1,
    ) -> Built:  # fmt: skip
        sizes = (x.shape[1], len(weight), weight.shape[2:], _each(stride), _each(padding), _each(dilation))
        return (_filled(_of("Conv", x)(*sizes, groups, bias is not None), weight, bias),)

    def transposed(
        x: Tensor, out: Tensor, weight: Tensor, bias: Tensor | None = None, stride: Any = 1, padding: Any = 0, output_padding: Any = 0,
        groups: int = 1, dilation: Any = 1,
    ) -> Built:  # fmt: skip
        sizes = (x.shape[1], out.shape[1], weight.shape[2:], _each(stride), _each(padding), _each(output_padding))
        return (_filled(_of("ConvTranspose", x)(*sizes, groups, bias is not None, _each(dilation)), weight, bias),)

    return transposed if kind == "transposed" else build


def _each(value: Any) -> Any:
    return value if isinstance(value, (int, str)) else tuple(value) if len(value) > 1 else value[0]


def linear(x: Tensor, out: Tensor, weight: Tensor, bias: Tensor | None = None) -> Built:
    """A matrix and a bias, as a layer."""
    return (_filled(nn.Linear(x.shape[-1], len(weight), bias is not None), weight, bias),)


def matmul(x: Tensor, out: Tensor, other: Tensor) -> Built:
    """A product with a constant matrix, as a layer without a bias."""
    return linear(x, out, other.t())


def _filled(layer: nn.Module, weight: Tensor, bias: Tensor | None) -> nn.Module:
    layer.weight = nn.Parameter(weight.detach().clone(), requires_grad=False)
    if bias is not None:
        layer.bias = nn.Parameter(bias.detach().clone(), requires_grad=False)
    return layer


def batch_norm(
    x: Tensor, out: Tensor, running_mean: Tensor | None, running_var: Tensor | None, weight: Tensor | None = None,
    bias: Tensor | None = None, training: bool = False, momentum: float = 0.1, eps: float = 1e-5,
) -> Built:  # fmt: skip
    """A norm by the running statistics."""
    if training or running_mean is None or running_var is None:
        raise Unfit("normalises by the statistics of the batch; call eval() before torch.export, and keep track_running_stats=True")
    norm = (nn.BatchNorm1d if x.dim() < 4 else _of("BatchNorm", x))(x.shape[1], eps, affine=weight is not None or bias is not None)
    norm.running_mean, norm.running_var = running_mean.detach().clone(), running_var.detach().clone()
    if norm.affine:
        _filled(norm, torch.ones_like(running_mean) if weight is None else weight, torch.zeros_like(running_mean) if bias is None else bias)
    return (norm.eval(),)


def exported_batch_norm(x: Tensor, out: Tensor, weight: Any, bias: Any, mean: Any, var: Any, training: bool, *rest: Any) -> Built:
    """`batch_norm` in the order of arguments of torch.export."""
    return batch_norm(x, out, mean, var, weight, bias, training, *rest[:2])


def times(x: Tensor, factor: Any) -> Built:
    """A product with a constant, for all channels or one for each."""
    scale = _per_channel(x, factor)
    return () if bool((scale == 1).all()) else (Affine(scale),)


def plus(x: Tensor, shift: Any) -> Built:
    """A sum with a constant, for all channels or one for each."""
    shift = _per_channel(x, shift)
    return () if bool((shift == 0).all()) else (Affine(torch.ones_like(shift), shift.expand(x.shape[1]).clone()),)


def _per_channel(x: Tensor, value: Any) -> Tensor:
    """A number or a constant that broadcasts along axis 1 alone, as 0-d or `[C]`."""
    value = torch.as_tensor(value, dtype=x.dtype).detach()
    if value.numel() == 1:
        return value.reshape(()).clone()
    full = value.reshape([1] * (x.dim() - value.dim()) + list(value.shape)) if value.dim() <= x.dim() else value
    if full.dim() != x.dim() or full.numel() != x.shape[1] or full.shape[1] != x.shape[1]:
        raise Unfit(f"a constant {tuple(value.shape)} with a value {tuple(x.shape)}; must be one number, or one for each channel (axis 1)")
    return full.reshape(-1).clone()


BUILDERS: dict[str, Callable[..., Built]] = {
    **{f.__name__: f for f in (relu, relu6, leaky_relu, hardtanh, clamp, clamp_min, mean, dropout, pad, softmax, log_softmax, interpolate)},
    **{f.__name__: f for f in (linear, matmul, batch_norm)},
    **{f"{f.__name__}{d}d": f for f in (max_pool, avg_pool, adaptive_avg_pool) for d in (1, 2, 3)},
    **{name: reshape for name in ("flatten", "view", "reshape", "squeeze", "unsqueeze", "unflatten", "_unsafe_view")},
    **{name: same for name in ("contiguous", "clone", "detach", "alias", "to", "float", "double", "type_as", "expand_as", "identity")},
    **{name: dropout for name in ("dropout1d", "dropout2d", "dropout3d", "feature_dropout", "alpha_dropout")},
    **{f"conv{d}d": convolution("plain") for d in (1, 2, 3)},
    **{f"conv_transpose{d}d": convolution("transposed") for d in (1, 2, 3)},
    **{f"upsample_{mode}{d}d": upsample(mode) for mode, d in (("nearest", 1), ("nearest", 2), ("nearest", 3))},
    **{f"upsample_{mode}{d}d": upsample(mode) for mode, d in (("linear", 1), ("bilinear", 2), ("trilinear", 3))},
    "constant_pad_nd": lambda x, out, sizes, value=0: pad(x, out, sizes, "constant", value),
    "aten.batch_norm": exported_batch_norm,
}
