"""Why operations that are often met have no spiking form, and what to do."""

from __future__ import annotations

_SMOOTH = "its output is no multiple of a spike count; train with ReLU in its place"
_NORM = "normalises by its own input, which no weight can take up; train with BatchNorm in its place"
_PRODUCT = "multiplies activations with each other, which sums of spikes cannot; replace it, or convert the part without it"
_MEMORY = "keeps a state of its own; convert the feed-forward part"
_CURVES = (
    "gelu", "silu", "swish", "mish", "sigmoid", "logsigmoid", "tanh", "elu", "selu", "celu", "softplus", "softsign", "hardswish",
    "hardsigmoid", "softmin", "glu", "exp", "log", "sqrt", "pow", "square", "abs", "sin", "cos",
)  # fmt: skip
_REASONS: dict[str, str] = {
    **dict.fromkeys(_CURVES, _SMOOTH),
    **dict.fromkeys(("layernorm", "groupnorm", "rmsnorm", "localresponsenorm", "normalize", "nativelayernorm", "nativegroupnorm"), _NORM),
    **dict.fromkeys(("instancenorm", "instancenorm1d", "instancenorm2d", "instancenorm3d"), _NORM),
    **dict.fromkeys(("mul", "div", "bmm", "einsum", "bilinear", "multiheadattention", "scaleddotproductattention"), _PRODUCT),
    **dict.fromkeys(("lstm", "gru", "rnn", "lstmcell", "grucell", "rnncell"), _MEMORY),
    **dict.fromkeys((f"maxpool{d}dwithindices" for d in (1, 2, 3)), "gives indices too; set return_indices=False"),
    "matmul": _PRODUCT,
    "prelu": "has a slope for each channel; train with nn.LeakyReLU(slope), of one slope from 0 to 1, or ReLU in its place",
    "syncbatchnorm": "is for training on several devices; put a BatchNorm with the same values in its place",
    "convolution": "was decomposed; save what torch.export gives before run_decompositions()",
    "addmm": "was decomposed; save what torch.export gives before run_decompositions()",
}
_KNOWN = (
    "convolutions, linear layers, batch norms, ReLU, ReLU6, LeakyReLU, Hardtanh from 0, QCFS, max and average pools, zero padding, "
    "upsampling, flatten, dropout, sums, concatenations, constants"
)


def reason(name: str) -> str:
    """Why an operation that nothing builds cannot be converted, and what to do."""
    return _REASONS.get(name.replace("_", "").lower(), f"is not among what can be converted ({_KNOWN}); replace it by one of these")
