import operator

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from spikeloom.convert.graph import ADD, CAT, ConversionError
from spikeloom.convert.operations import Unfit
from spikeloom.convert.passes import known
from spikeloom.convert.sites import fit
from spikeloom.convert.take import take
from spikeloom.convert.vocabulary import ALL

W2, B3 = torch.randn(3, 2, 3, 3), torch.randn(3)


class Calls(nn.Module):
    """A convolution, then a function of the test's."""

    def __init__(self, function, **layers):
        super().__init__()
        self.conv, self.function = nn.Conv2d(2, 3, 3, padding=1), function
        for name, layer in layers.items():
            self.register_buffer(name, layer) if isinstance(layer, torch.Tensor) else self.add_module(name, layer)

    def forward(self, x):
        return self.function(self, self.conv(x))


def inputs(seed=1, rows=3):
    return torch.randn(rows, 2, 6, 6, generator=torch.Generator().manual_seed(seed))


def converted(model, x):
    net = take(model, x)
    known["NameModules"]().run(net)
    return net


def kinds(net):
    return [type(net.of(n)).__name__ if n.op == "call_module" else n.target for n in net.nodes if n.op.startswith("call")][1:]


FORMS = {
    "F.relu": (lambda m, x: F.relu(x), ["ReLU"]),
    "F.relu in place": (lambda m, x: F.relu(x, inplace=True), ["ReLU"]),
    "torch.relu": (lambda m, x: torch.relu(x), ["ReLU"]),
    "Tensor.relu_": (lambda m, x: x.relu().relu_(), ["ReLU", "ReLU"]),
    "relu6": (lambda m, x: F.relu6(x), ["ReLU6"]),
    "leaky_relu": (lambda m, x: F.leaky_relu(x, 0.2), ["LeakyReLU"]),
    "hardtanh": (lambda m, x: F.hardtanh(x, 0.0, 0.5), ["Hardtanh"]),
    "clamp": (lambda m, x: x.clamp(0, 0.5), ["Hardtanh"]),
    "clamp min": (lambda m, x: torch.clamp(x, min=0), ["ReLU"]),
    "clamp_min": (lambda m, x: x.clamp_min(0), ["ReLU"]),
    "clip": (lambda m, x: torch.clip(x, min=0, max=1), ["Hardtanh"]),
    "max_pool2d": (lambda m, x: F.max_pool2d(x, 3, 2, padding=1, ceil_mode=True), ["MaxPool2d"]),
    "max_pool1d": (lambda m, x: F.max_pool1d(x.flatten(2), 4), ["Flatten", "MaxPool1d"]),
    "avg_pool2d": (lambda m, x: F.avg_pool2d(x, kernel_size=3, stride=2, padding=1, count_include_pad=False), ["AvgPool2d"]),
    "avg_pool2d of sizes": (lambda m, x: F.avg_pool2d(x, x.size()[2:]), ["AvgPool2d"]),
    "adaptive_avg_pool2d": (lambda m, x: F.adaptive_avg_pool2d(x, (2, 3)), ["AdaptiveAvgPool2d"]),
    "mean": (lambda m, x: x.mean((2, 3)), ["AdaptiveAvgPool2d", "Flatten"]),
    "mean keepdim": (lambda m, x: torch.mean(x, dim=[-1, -2], keepdim=True), ["AdaptiveAvgPool2d"]),
    "mean twice": (lambda m, x: x.mean(-1).mean(-1), ["AdaptiveAvgPool2d", "Flatten", "AdaptiveAvgPool1d", "Flatten"]),
    "torch.flatten": (lambda m, x: torch.flatten(x, 1), ["Flatten"]),
    "flatten start_dim": (lambda m, x: x.flatten(start_dim=1), ["Flatten"]),
    "view": (lambda m, x: x.view(x.size(0), -1), ["Flatten"]),
    "view of all sizes": (lambda m, x: x.view(-1, x.size(1) * x.size(2) * x.size(3)), ["Flatten"]),
    "reshape": (lambda m, x: x.reshape(x.shape[0], -1), ["Flatten"]),
    "squeeze": (lambda m, x: F.adaptive_avg_pool2d(x, 1).squeeze(), ["AdaptiveAvgPool2d", "Flatten"]),
    "squeeze axes": (lambda m, x: F.adaptive_avg_pool2d(x, 1).squeeze(3).squeeze(2), ["AdaptiveAvgPool2d", "Flatten", "Flatten"]),
    "contiguous": (lambda m, x: x.contiguous().clone(), []),
    "dropout": (lambda m, x: F.dropout(x, 0.3, m.training), ["Dropout"]),
    "dropout2d": (lambda m, x: F.dropout2d(x, 0.3, m.training), ["Dropout"]),
    "pad": (lambda m, x: F.pad(x, (1, 2)), ["ZeroPad2d"]),
    "pad all": (lambda m, x: F.pad(x, (1, 2, 0, 1, 0, 0)), ["ZeroPad2d"]),
    "softmax": (lambda m, x: F.softmax(x.flatten(1), dim=-1), ["Flatten", "Softmax"]),
    "log_softmax": (lambda m, x: x.flatten(1).log_softmax(1), ["Flatten", "LogSoftmax"]),
    "conv2d": (lambda m, x: F.conv2d(x, m.weight, m.bias, padding=1), ["Conv2d"]),
    "conv2d grouped": (lambda m, x: F.conv2d(x, m.weight[:, :1], None, 2, 1, 1, 3), ["Conv2d"]),
    "conv_transpose2d": (lambda m, x: F.conv_transpose2d(x, m.weight, None, 2, 1, 1), ["ConvTranspose2d"]),
    "linear": (lambda m, x: F.linear(x.mean((2, 3)), m.weight[:, :, 0, 0], m.bias), ["AdaptiveAvgPool2d", "Flatten", "Linear"]),
    "matmul": (lambda m, x: x.mean((2, 3)) @ m.weight[:, :, 0, 0], ["AdaptiveAvgPool2d", "Flatten", "Linear"]),
    "batch_norm": (lambda m, x: F.batch_norm(x, m.bias, m.bias.abs() + 1, m.bias, None), ["BatchNorm2d"]),
    "interpolate nearest": (lambda m, x: F.interpolate(x, scale_factor=2), ["Upsample"]),
    "interpolate bilinear": (lambda m, x: F.interpolate(x, size=(9, 5), mode="bilinear", align_corners=True), ["Upsample"]),
    "interpolate to another's size": (lambda m, x: F.interpolate(F.max_pool2d(x, 2), x.shape[2:]), ["MaxPool2d", "Upsample"]),
    "add": (lambda m, x: x + F.relu(x), ["ReLU", ADD]),
    "add in place": (lambda m, x: operator.iadd(x.relu(), x), ["ReLU", ADD]),
    "torch.add": (lambda m, x: torch.add(x, F.relu(x), alpha=-2), ["ReLU", "Affine", ADD]),
    "Tensor.add_": (lambda m, x: x.relu().add_(x), ["ReLU", ADD]),
    "sub": (lambda m, x: x - x.relu(), ["ReLU", "Affine", ADD]),
    "twice": (lambda m, x: x + x, [ADD]),
    "sum of a list": (lambda m, x: sum([x, x.relu()]), ["ReLU", ADD]),
    "cat": (lambda m, x: torch.cat((x, x.relu()), 1), ["ReLU", CAT]),
    "concat": (lambda m, x: torch.concat([x, x.relu()], dim=-3), ["ReLU", CAT]),
    "times": (lambda m, x: 2 * x * 0.5, ["Affine", "Affine"]),
    "over": (lambda m, x: x / 4, ["Affine"]),
    "minus": (lambda m, x: x - 0.5, ["Affine"]),
    "from one": (lambda m, x: 1 - x, ["Affine", "Affine"]),
    "negative": (lambda m, x: -x, ["Affine"]),
    "per channel": (lambda m, x: x * m.bias[:, None, None] + m.bias.view(1, 3, 1, 1), ["Affine", "Affine"]),
    "size as a number": (lambda m, x: x / x.size(2), ["Affine"]),
    "in place, read again": (lambda m, x: (F.relu(x, inplace=True), x)[1] + x, ["ReLU", ADD]),
    "dead": (lambda m, x: (torch.sigmoid(x), x.relu())[1], ["ReLU"]),
}


@pytest.mark.parametrize("name", FORMS)
def test_forms(name, float64):
    function, expected = FORMS[name]
    model, x = Calls(function, weight=torch.randn(3, 3, 3, 3), bias=torch.randn(3)).eval(), inputs().double()
    net = converted(model, x)
    assert kinds(net) == expected
    assert all(type(module) in ALL for _, module in net.calls((nn.Module,)))
    assert {n.op for n in net.nodes} <= {"placeholder", "call_module", "call_function", "output"}
    for rows in (2, 3):
        wanted = model(x[:rows])
        assert net.module(x[:rows]).shape == wanted.shape
        assert float((net.module(x[:rows]) - wanted).detach().abs().max()) <= 1e-13 * float(wanted.detach().abs().max())


def test_one_and_three_axes_of_space(float64):
    class Signal(nn.Module):
        def __init__(self, axes):
            super().__init__()
            self.axes = axes
            self.conv = getattr(nn, f"Conv{axes}d")(2, 3, 3)

        def forward(self, x):
            x = getattr(F, f"max_pool{self.axes}d")(F.relu(self.conv(x)), 2)
            return getattr(F, f"adaptive_avg_pool{self.axes}d")(x, 2).mean(tuple(range(2, 2 + self.axes)))

    for axes in (1, 3):
        model, x = Signal(axes), torch.randn(2, 2, *[8] * axes)
        assert torch.allclose(converted(model, x).module(x), model(x), rtol=1e-13, atol=1e-15)


def test_an_in_place_layer_changes_what_its_input_is_for_later_readers():
    """Pre-activation by nn.ReLU(inplace=True): the shortcut carries relu(x)."""
    model, x = Calls(lambda m, x: m.act(x) * 2 + x, act=nn.ReLU(inplace=True)), inputs()
    net = converted(model, x)
    relu = next(node for node, _ in net.calls((nn.ReLU,)))
    assert len(relu.users) == 2 and not net.of(relu).inplace
    assert torch.allclose(net.module(x), 3 * F.relu(model.conv(x)))


def test_a_function_is_named_after_the_layer_that_calls_it():
    class Outer(nn.Module):
        def __init__(self):
            super().__init__()
            self.stage = nn.Sequential(Calls(lambda m, x: F.relu(F.relu(x))))

        def forward(self, x):
            return F.relu(self.stage(x))

    targets = [node.target for node in converted(Outer(), inputs()).nodes if node.op == "call_module"]
    assert targets == ["stage.0.conv", "stage.0.relu", "stage.0.relu_1", "relu"]


SMOOTH = "its output is no multiple of a spike count; train with ReLU in its place"
REFUSED = {
    "product": (lambda m, x: x * x.relu(), r"'mul' \(mul, node 3 of 3, after 'relu'\): multiplies activations with each other"),
    "gate": (lambda m, x: x * torch.sigmoid(x.mean((2, 3), keepdim=True)), r"'sigmoid' \(sigmoid, node 3 of 4, after 'mean'\): " + SMOOTH),
    "gelu": (lambda m, x: F.gelu(x), r"'gelu' \(gelu, node 2 of 2, after 'conv'\): " + SMOOTH),
    "tanh": (lambda m, x: x.tanh(), r"'tanh' .*: " + SMOOTH),
    "silu": (lambda m, x: F.silu(x), r"'silu' .*: " + SMOOTH),
    "hardswish": (lambda m, x: F.hardswish(x), r"'hardswish' .*: " + SMOOTH),
    "layer_norm": (lambda m, x: F.layer_norm(x, (6, 6)), "'layer_norm' .*normalises by its own input.*train with BatchNorm in its place"),
    "batch statistics": (
        lambda m, x: F.batch_norm(x, None, None, training=True) * 0 + x,
        "'batch_norm' .*normalises by the statistics of the batch; call eval",
    ),
    "attention": (lambda m, x: F.scaled_dot_product_attention(x, x, x), "'scaled_dot_product_attention' .*multiplies activations"),
    "dynamic matmul": (lambda m, x: x @ x, "'matmul' .*computed from the input, is one of its arguments"),
    "clamp below 0": (lambda m, x: x.clamp(-1, 1), "clamps between -1 and 1; the lower end must be 0"),
    "hardtanh": (lambda m, x: F.hardtanh(x), "clamps between -1.0 and 1.0; must be from 0 to more; train with ReLU or ReLU6"),
    "slope": (lambda m, x: F.leaky_relu(x, -0.1), "its slope below 0 is -0.1; must be from 0 to 1; train with another"),
    "mean over channels": (lambda m, x: x.mean(1, keepdim=True), r"a mean over the axes \[1\] of \(2, 3, 6, 6\); only axes of space"),
    "flatten the batch": (lambda m, x: x.view(x.size(0), 3, -1, 2, 3).flatten(0, 1)[: x.size(0)], "only flattening"),
    "dropout": (lambda m, x: F.dropout(x, 0.0, True), "drops in evaluation mode too; give F.dropout training=self.training"),
    "pad with ones": (lambda m, x: F.pad(x, (1, 1), value=1.0), r"pads by \(1, 1\) with mode='constant', value=1.0; only zeros"),
    "pad channels": (lambda m, x: F.pad(x, (0, 0, 0, 0, 1, 1)), "for new channels, a 1x1 convolution"),
    "reflect": (lambda m, x: F.pad(x, (1, 1, 1, 1), mode="reflect"), "mode='reflect'"),
    "softmax axis": (lambda m, x: F.softmax(x, dim=3), "over axis 3; must be over the classes, axis 1"),
    "broadcast sum": (lambda m, x: x + x[:, :1], "'getitem' .*is not among what can be converted"),
    "joined rows": (lambda m, x: torch.cat([x, x], 2), "joins along axis 2; must be the channels, axis 1"),
    "joined zeros": (lambda m, x: torch.cat([x, torch.zeros(x.size(0), 1, 6, 6)], 1), "'zeros' .*is not among"),
    "number of inputs": (lambda m, x: x + m.pair, r"the traced graph fails on 3 inputs: .*; take numbers of inputs out of forward\(\)"),
    "constant map": (
        lambda m, x: x + m.map,
        r"a constant \(6, 6\) with a value \(2, 3, 6, 6\); must be one number, or one for each channel",
    ),
    "reciprocal": (lambda m, x: 1 / x, "'div' .*divides by an activation; no weight does that; replace it"),
    "batch as number": (
        lambda m, x: F.interpolate(x, scale_factor=float(1)) * x.size(0) / x.size(0),
        "one of its arguments is the number of inputs",
    ),
    "rounding": (lambda m, x: torch.div(x, 2, rounding_mode="floor"), "has the options .*rounding_mode.*leave them out"),
    "indices": (
        lambda m, x: F.max_pool2d(x, 2, return_indices=True)[0],
        "'max_pool2d_with_indices' .*gives indices too; set return_indices=False",
    ),
    "antialias": (lambda m, x: F.interpolate(x, scale_factor=2, mode="bilinear", antialias=True), "antialias=True has no module"),
    "another type": (lambda m, x: x.double(), "of torch.float32 becomes .* of torch.float64; convert inputs and weights before"),
    "unknown": (lambda m, x: torch.cumsum(x, 1), "'cumsum' .*is not among what can be converted .*; replace it by one of these"),
    "odd arguments": (lambda m, x: F.relu(x).clamp(0, 0), "no module does this: .*; write it with a module"),
    "scalar": (lambda m, x: x.flatten(1).sum(1), r"'sum' .*is not among"),
    "channels gone": (lambda m, x: x.flatten(1) @ m.vector, r"'matmul' .*gives \(2,\) for 2 inputs; axis 0 must stay the batch, axis 1"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused_functions(name):
    function, message = REFUSED[name]
    with pytest.raises(ConversionError, match=message):
        converted(Calls(function, map=torch.randn(6, 6), pair=torch.ones(2, 1, 1, 1), vector=torch.ones(108)).eval(), inputs())


LAYERS = {
    "GELU": (nn.GELU(), SMOOTH),
    "Sigmoid": (nn.Sigmoid(), SMOOTH),
    "Tanh": (nn.Tanh(), SMOOTH),
    "SiLU": (nn.SiLU(), SMOOTH),
    "Hardswish": (nn.Hardswish(), SMOOTH),
    "LayerNorm": (nn.LayerNorm(6), "normalises by its own input, which no weight can take up; train with BatchNorm in its place"),
    "GroupNorm": (nn.GroupNorm(1, 3), "normalises by its own input"),
    "InstanceNorm2d": (nn.InstanceNorm2d(3), "normalises by its own input"),
    "PReLU": (nn.PReLU(3), r"has a slope for each channel; train with nn.LeakyReLU\(slope\)"),
    "Hardtanh": (nn.Hardtanh(-1, 1), "clamps between -1 and 1; must be from 0 to more"),
    "LeakyReLU": (nn.LeakyReLU(1.5), "its slope below 0 is 1.5; must be from 0 to 1"),
    "Linear": (nn.Linear(6, 2), r"its input is \(2, 3, 6, 6\); must be \[B, features\]; flatten before it"),
    "AdaptiveMaxPool2d": (nn.AdaptiveMaxPool2d(1), "is not among what can be converted"),
    "Unflatten": (nn.Sequential(nn.Flatten(1), nn.Unflatten(1, (3, 36))), "'unit.1' .*Unflatten, node 4 of 4.*is not among"),
    "AvgPool1d": (nn.Sequential(nn.Flatten(1), nn.AvgPool1d(2)), r"its input is \(2, 108\); must be \[B, C, \.\.\.\] with 1 axes of space"),
    "Softmax": (nn.Softmax(2), "over axis 2; must be over the classes, axis 1"),
}


@pytest.mark.parametrize("name", LAYERS)
def test_refused_layers_are_named_by_their_place(name):
    layer, message = LAYERS[name]
    model = Calls(lambda m, x: m.unit(F.relu(x)), unit=layer).eval()
    with pytest.raises(ConversionError, match=message):
        converted(model, inputs())


def test_the_place_of_a_layer():
    model = nn.Sequential()
    model.add_module("features", nn.Sequential(nn.Conv2d(2, 3, 3), nn.ReLU(), nn.Conv2d(3, 3, 1)))
    model.add_module("act", nn.GELU())
    model.add_module("head", nn.Flatten())
    with pytest.raises(
        ConversionError, match=r"^'act' \(GELU, node 4 of 5, after 'features.2'\): its output is no multiple of a spike count"
    ):
        converted(model, inputs())
    with pytest.raises(ConversionError, match=r"^'0' \(GELU, node 1 of 1, the first\): "):
        converted(nn.Sequential(nn.GELU()), inputs())


def test_a_softmax_inside_is_refused_by_its_layer():
    net = converted(nn.Sequential(nn.Conv2d(2, 3, 3), nn.Softmax2d(), nn.Conv2d(3, 1, 1)), inputs())
    with pytest.raises(ConversionError, match=r"_1 \(layer '1', Softmax2d\): .*only a softmax at the very end"):
        known["RemoveDropout"]().run(net)


def test_an_output_size_of_a_transposed_convolution_is_refused():
    model = Calls(lambda m, x: m.up(x, output_size=(12, 12)), up=nn.ConvTranspose2d(3, 2, 3, 2, 1))
    with pytest.raises(ConversionError, match=r"'up' \(ConvTranspose2d, node 2 of 2, after 'conv'\): is called with more than its input"):
        converted(model, inputs())


def test_weights_shared_by_two_layers_are_split(float64):
    model = nn.Sequential(nn.Conv2d(2, 2, 1), nn.BatchNorm2d(2), nn.ReLU(), nn.Conv2d(2, 2, 1)).eval()
    model[3].weight = model[0].weight
    model[1].running_var.fill_(4.0)
    x = inputs().double()
    net = converted(model, x)
    for name in ("SplitShared", "RemoveDropout", "FoldNorms"):
        known[name]().run(net)
    assert torch.allclose(net.module(x), model(x), rtol=1e-12)


@pytest.mark.parametrize(
    "module, message",
    [
        (nn.Conv1d(3, 3, 1), r"its input is \(2, 3, 6, 6\); must have 3 axes, \[B, C, \.\.\.\]"),
        (nn.Flatten(0, 1), "flattens the batch; give start_dim=1"),
        (nn.MaxPool2d(2, return_indices=True), "gives indices too; set return_indices=False"),
        (nn.BatchNorm2d(3, track_running_stats=False), "normalises by the statistics of the batch; train with track_running_stats=True"),
    ],
)
def test_layers_that_no_graph_may_have(module, message):
    with pytest.raises(Unfit, match=message):
        fit(module, torch.empty(2, 3, 6, 6, device="meta"))


def test_writing_into_a_tensor_that_is_read_in_another_shape_is_refused():
    def function(m, x):
        flat = x.flatten(1)
        x.relu_()
        return flat

    with pytest.raises(
        ConversionError, match=r"'relu' \(relu\): writes into a tensor that 'output' reads later in another shape; use the form"
    ):
        converted(Calls(function), inputs())


def test_a_sum_of_maps_with_other_channels_is_refused():
    model = Calls(lambda m, x: x + m.one(x), one=nn.Conv2d(3, 1, 1))
    with pytest.raises(
        ConversionError, match=r"'add' .*adds \(2, 3, 6, 6\) and \(2, 1, 6, 6\); both must have the same channels on axis 1"
    ):
        converted(model, inputs())


def test_joining_with_a_constant_of_two_rows_is_refused_by_the_third():
    model = Calls(lambda m, x: torch.cat([x, m.pair], 1), pair=torch.zeros(2, 1, 6, 6))
    with pytest.raises(ConversionError, match="the traced graph fails on 3 inputs"):
        converted(model, inputs())
