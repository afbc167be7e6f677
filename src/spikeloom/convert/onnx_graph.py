"""The graph of an ONNX file as a graph of torch's functions, which conversion names as it names those of any network."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.nn import functional as F

from spikeloom.convert.graph import ConversionError
from spikeloom.convert.operations import Unfit

Call = tuple[Callable[..., Any] | str, tuple[Any, ...]]  # a function, and its arguments after the activation


class OnnxGraph:
    """Reads `proto` (a GraphProto of the file `name`) node by node; `module` gives the network."""

    def __init__(self, proto: Any, name: str) -> None:
        self.proto, self.file = proto, name
        self.graph = fx.Graph()
        self.constants: dict[str, Tensor] = {}
        self.values: dict[str, fx.Node] = {}
        self.axes: dict[str, int] = {}  # how many a value has

    def module(self) -> nn.Module:
        """The network; ConversionError names the first node that has no function here."""
        from onnx import numpy_helper  # type: ignore[import-not-found]

        self.constants = {value.name: _tensor(numpy_helper.to_array(value)) for value in self.proto.initializer}
        inputs = [value for value in self.proto.input if value.name not in self.constants]
        if len(inputs) != 1 or len(self.proto.output) != 1:
            given = f"{len(inputs)} inputs and {len(self.proto.output)} outputs"
            raise ConversionError(f"{self.file}: {given}; must be one input [B, ...] and one output; cut the graph down to them")
        self.values[inputs[0].name] = self.graph.placeholder("x")
        self.axes[inputs[0].name] = len(inputs[0].type.tensor_type.shape.dim)
        total, before = len(self.proto.node), ""
        for k, node in enumerate(self.proto.node, 1):
            name = node.name or node.output[0]
            try:
                self._read(node, name)
            except Unfit as why:
                after = f"after {before!r}" if before else "the first"
                raise ConversionError(f"{self.file}: {name!r} ({node.op_type}, node {k} of {total}, {after}): {why}") from None
            before = name
        self.graph.output(self.values[self.proto.output[0].name])
        holder = nn.Module()
        for k, value in enumerate(self.constants.values()):
            holder.register_buffer(f"constant_{k}", value)
        return fx.GraphModule(holder, self.graph, "OnnxNet").eval()

    def _read(self, node: Any, name: str) -> None:
        from onnx import helper, numpy_helper  # type: ignore[import-not-found]

        options: dict[str, Any] = {a.name: helper.get_attribute_value(a) for a in node.attribute}
        options = {key: value.decode() if isinstance(value, bytes) else value for key, value in options.items()}
        kind, result, inputs = node.op_type, node.output[0], list(node.input)
        if kind == "Constant":
            value: Any = next(iter(options.values()))
            self.constants[result] = _tensor(numpy_helper.to_array(value) if hasattr(value, "data_type") else value)
            return
        active = [key for key in inputs if key in self.values]
        if not active or (inputs[0] not in active and kind not in ("Add", "Mul", "Concat")):
            raise Unfit("its first input is a constant; the activations come first")
        axes = self.axes[active[0]]
        if kind in ("Add", "Mul", "Sub", "Div"):
            self._put(name, result, axes, getattr(torch, kind.lower()), *(self._value(key) for key in inputs))
        elif kind == "Concat":
            self._put(name, result, axes, torch.cat, [self._value(key) for key in inputs], options["axis"])
        elif kind in ("Identity", "Dropout"):  # evaluation mode
            self.values[result], self.axes[result] = self.values[inputs[0]], axes
        elif kind in _READERS and len(active) == 1:
            others = [self.constants.get(key) for key in inputs[1:]]
            self.values[result], self.axes[result] = self.values[inputs[0]], axes
            for function, arguments in _READERS[kind](options, axes, *others):
                arguments = tuple(self._constant(a) if isinstance(a, Tensor) else a for a in arguments)
                self._put(name, result, _axes_after(function, arguments, axes), function, self.values[result], *arguments)
        else:
            known = ", ".join(["Add", "Concat", "Constant", "Div", "Dropout", "Identity", "Mul", "Sub", *_READERS])
            raise Unfit(f"is not read here, with {len(active)} computed inputs; known are {known}; export the network without it")

    def _put(self, name: str, result: str, axes: int, function: Any, *arguments: Any) -> None:
        node = self.graph.call_function(function, arguments)
        path = name.strip("/").replace("/", ".").replace("::", ".")
        node.meta["nn_module_stack"] = {"": (path, "torch.nn.modules.onnx")}  # what its layer is called
        self.values[result], self.axes[result] = node, axes

    def _value(self, key: str) -> fx.Node:
        return self.values[key] if key in self.values else self._constant(self.constants[key])

    def _constant(self, value: Tensor) -> fx.Node:
        k = next((k for k, other in enumerate(self.constants.values()) if other is value), None)
        if k is None:
            k, self.constants[f" {len(self.constants)}"] = len(self.constants), value
        return self.graph.get_attr(f"constant_{k}")


def _tensor(value: Any) -> Tensor:
    value = torch.tensor(value)
    return value.float() if value.is_floating_point() else value


def _axes_after(function: Any, arguments: tuple[Any, ...], axes: int) -> int:
    if function is torch.flatten:
        return arguments[0] + 1
    return axes - len(arguments[0]) if function is torch.mean and not arguments[1] else axes


def _window(options: dict[str, Any], axes: int) -> tuple[Any, ...]:
    """Strides, dilations, padding (zeros before and after for each axis of space)."""
    space = axes - 2
    if options.get("auto_pad", "NOTSET") not in ("NOTSET", "VALID"):
        raise Unfit(f"auto_pad={options['auto_pad']!r}; write the padding out as pads")
    pads = list(options.get("pads", [0] * 2 * space))
    strides, dilations = (tuple(options.get(key, [1] * space)) for key in ("strides", "dilations"))
    return strides, dilations, pads[:space], pads[space:]


def _even(before: list[int], after: list[int]) -> tuple[int, ...]:
    if before != after:
        raise Unfit(f"pads {before} before and {after} after; must be the same; write it as a Pad before")
    return tuple(before)


def _conv(o: dict[str, Any], axes: int, weight: Tensor, bias: Tensor | None = None) -> list[Call]:
    strides, dilations, before, after = _window(o, axes)
    padding, calls = tuple(before), []
    if before != after:
        zeros = [n for pair in reversed(list(zip(before, after, strict=True))) for n in pair]
        padding, calls = (0,) * len(before), [(F.pad, (zeros,))]
    return [*calls, (getattr(F, f"conv{axes - 2}d"), (weight, bias, strides, padding, dilations, o.get("group", 1)))]


def _transposed(o: dict[str, Any], axes: int, weight: Tensor, bias: Tensor | None = None) -> list[Call]:
    if "output_shape" in o:
        raise Unfit("output_shape is given; write it as pads and output_padding")
    strides, dilations, before, after = _window(o, axes)
    more = tuple(o.get("output_padding", [0] * (axes - 2)))
    arguments = (weight, bias, strides, _even(before, after), more, o.get("group", 1), dilations)
    return [(getattr(F, f"conv_transpose{axes - 2}d"), arguments)]


def _gemm(o: dict[str, Any], axes: int, weight: Tensor, bias: Tensor | None = None) -> list[Call]:
    if o.get("transA"):
        raise Unfit("transA=1 mixes the batch; must be 0")
    weight = (weight if o.get("transB") else weight.t()) * o.get("alpha", 1.0)
    return [(F.linear, (weight, None if bias is None else (bias * o.get("beta", 1.0)).expand(len(weight))))]


def _norm(o: dict[str, Any], axes: int, scale: Tensor, shift: Tensor, mean: Tensor, var: Tensor) -> list[Call]:
    if o.get("training_mode"):
        raise Unfit("training_mode=1 normalises by the batch; export the network in evaluation mode")
    return [(F.batch_norm, (mean, var, scale, shift, False, 0.1, o.get("epsilon", 1e-5)))]


def _clip(o: dict[str, Any], axes: int, low: Tensor | None = None, high: Tensor | None = None) -> list[Call]:
    ends = (o.get("min") if low is None else float(low), o.get("max") if high is None else float(high))
    return [(torch.clamp, ends)]


def _max_pool(o: dict[str, Any], axes: int) -> list[Call]:
    strides, dilations, before, after = _window(o, axes)
    arguments = (tuple(o["kernel_shape"]), strides, _even(before, after), dilations, bool(o.get("ceil_mode")))
    return [(getattr(F, f"max_pool{axes - 2}d"), arguments)]


def _average_pool(o: dict[str, Any], axes: int) -> list[Call]:
    strides, dilations, before, after = _window(o, axes)
    if set(dilations) != {1}:
        raise Unfit(f"dilations={list(dilations)}; must be 1")
    arguments = (tuple(o["kernel_shape"]), strides, _even(before, after), bool(o.get("ceil_mode")), bool(o.get("count_include_pad")))
    return [(getattr(F, f"avg_pool{axes - 2}d"), arguments)]


def _reduce_mean(o: dict[str, Any], axes: int, dims: Tensor | None = None) -> list[Call]:
    over = o.get("axes", range(axes)) if dims is None else dims.tolist()
    return [(torch.mean, ([d % axes for d in over], bool(o.get("keepdims", 1))))]


def _reshape(o: dict[str, Any], axes: int, shape: Tensor | None) -> list[Call]:
    sizes = None if shape is None else shape.tolist()
    if sizes is None or len(sizes) != 2:
        raise Unfit(f"to {sizes or 'a computed shape'}; only flattening to [0, -1] is known; export x.flatten(1)")
    return [(torch.reshape, (sizes,))] if sizes[0] == -1 else [(torch.flatten, (1,))]


def _flatten(o: dict[str, Any], axes: int) -> list[Call]:
    if o.get("axis", 1) % axes != 1:
        raise Unfit(f"axis={o['axis']}; must be 1")
    return [(torch.flatten, (1,))]


def _pad(o: dict[str, Any], axes: int, pads: Tensor | None = None, value: Tensor | None = None, *over: Any) -> list[Call]:
    sizes = list(o["pads"]) if pads is None else pads.tolist()
    if over or len(sizes) != 2 * axes:
        raise Unfit("axes are given; write pads for all of them")
    zeros = [n for k in reversed(range(axes)) for n in (sizes[k], sizes[axes + k])]
    return [(F.pad, (zeros, o.get("mode", "constant"), o.get("value", 0.0) if value is None else float(value)))]


_READERS: dict[str, Callable[..., list[Call]]] = {
    "Conv": _conv, "ConvTranspose": _transposed, "Gemm": _gemm, "BatchNormalization": _norm, "Clip": _clip, "MaxPool": _max_pool,
    "AveragePool": _average_pool, "ReduceMean": _reduce_mean, "Reshape": _reshape, "Flatten": _flatten, "Pad": _pad,
    "MatMul": lambda o, axes, weight: [(torch.matmul, (weight,))],
    "Relu": lambda o, axes: [(F.relu, ())],
    "LeakyRelu": lambda o, axes: [(F.leaky_relu, (o.get("alpha", 0.01),))],
    "GlobalAveragePool": lambda o, axes: [(torch.mean, (list(range(2, axes)), True))],
    "Softmax": lambda o, axes: [(F.softmax, (o.get("axis", axes - 1),))],
    "LogSoftmax": lambda o, axes: [(F.log_softmax, (o.get("axis", axes - 1),))],
}  # fmt: skip
