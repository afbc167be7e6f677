"""Files: torch's exported programs with fixed and free batch sizes, ONNX graphs made by hand against torch's functions."""

import builtins

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from spikeloom.convert.files import load_exported, load_onnx
from spikeloom.convert.graph import ConversionError
from spikeloom.convert.passes import known
from spikeloom.convert.take import take


class View(nn.Module):
    def __init__(self):
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4), nn.ReLU(inplace=True), nn.MaxPool2d(2))
        self.drop, self.head = nn.Dropout(), nn.Linear(16, 3)

    def forward(self, x):
        x = self.features(x)
        return self.head(self.drop(x.view(x.size(0), -1)))


def named(model, sample):
    net = take(model, sample)
    known["NameModules"]().run(net)
    return net


@pytest.mark.parametrize("rows, dynamic", [(1, False), (2, False), (2, True)])
@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_an_exported_program_converts_whatever_its_batch_size(rows, dynamic, tmp_path, convert):
    model, x = convert.norms(View()), torch.randn(5, 2, 6, 6)
    shapes = ({0: torch.export.Dim("batch")},) if dynamic else None
    torch.export.save(torch.export.export(model, (x[:rows],), dynamic_shapes=shapes), tmp_path / "net.pt2")
    net = named(load_exported(tmp_path / "net.pt2"), x)
    assert [n.target for n in net.nodes if n.op == "call_module"] == [
        "features.0", "features.1", "features.2", "features.3", "view", "drop", "head",
    ]  # fmt: skip
    for n in (1, 2, 5):
        assert torch.allclose(net.module(x[:n]), model(x[:n]), atol=1e-6)


@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_a_program_exported_in_training_mode_is_refused(tmp_path):
    model = nn.Sequential(nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4)).train()
    torch.export.save(torch.export.export(model, (torch.randn(2, 2, 6, 6),)), tmp_path / "net.pt2")
    with pytest.raises(ConversionError, match=r"'1' \(batch_norm, .*statistics of the batch; call eval\(\) before torch.export"):
        named(load_exported(tmp_path / "net.pt2"), torch.randn(2, 2, 6, 6))


def test_files_that_are_not_what_they_should_be(tmp_path):
    with pytest.raises(ConversionError, match=r"missing.pt2: is no file; give the path of a .pt2 or .onnx file"):
        load_exported(tmp_path / "missing.pt2")
    (tmp_path / "bad.pt2").write_text("no")
    with pytest.raises(ConversionError, match=r"bad.pt2: is no exported program: .*; write it with torch.export.save"):
        load_exported(tmp_path / "bad.pt2")


def test_without_the_package_onnx_its_installation_is_named(monkeypatch, tmp_path):
    real = builtins.__import__

    def no_onnx(name, *args, **kwargs):
        if name == "onnx":
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", no_onnx)
    with pytest.raises(ConversionError, match=r"needs the package onnx; pip install 'spikeloom\[onnx\]'"):
        load_onnx(tmp_path / "net.onnx")


# weights of the hand-made graphs
G = torch.Generator().manual_seed(3)
K = {
    "w": torch.randn(4, 2, 3, 3, generator=G), "g": torch.randn(4, 1, 3, 3, generator=G), "t": torch.randn(2, 3, 2, 2, generator=G),
    "b": torch.randn(4, generator=G), "m": torch.randn(4, generator=G), "v": torch.rand(4, generator=G) + 0.5,
    "f": torch.randn(5, 72, generator=G), "fb": torch.randn(5, generator=G), "flat": torch.tensor([0, -1]), "one": torch.tensor([1, -1]),
    "free": torch.tensor([-1, 72]), "zero": torch.tensor(0.0), "six": torch.tensor(6.0), "axes": torch.tensor([2, 3]),
    "pads": torch.tensor([0, 0, 1, 0, 0, 0, 2, 1]), "half": torch.tensor(0.5), "line": torch.tensor([8, 9]),
    "col": torch.randn(1, 2, 1, 1, generator=G),
}  # fmt: skip

# name: (nodes as (operator, inputs, options), the same in torch)
GRAPHS = {
    "conv, norm": (
        [("Conv", "x w b", {"pads": [1, 1, 1, 1]}), ("BatchNormalization", "0 b m b v", {"epsilon": 1e-3}), ("Relu", "1", {})],
        lambda x: F.relu(F.batch_norm(F.conv2d(x, K["w"], K["b"], padding=1), K["b"], K["v"], K["b"], K["m"], eps=1e-3)),
    ),
    "uneven conv": (
        [("Conv", "x w", {"pads": [1, 0, 2, 1], "strides": [2, 1]})],
        lambda x: F.conv2d(F.pad(x, (0, 1, 1, 2)), K["w"], None, (2, 1)),
    ),
    "groups": (
        [("Conv", "x w", {}), ("Conv", "0 g", {"group": 4, "dilations": [1, 1]})],
        lambda x: F.conv2d(F.conv2d(x, K["w"]), K["g"], groups=4),
    ),
    "transposed": (
        [("ConvTranspose", "x t", {"strides": [2, 2], "output_padding": [1, 1]})],
        lambda x: F.conv_transpose2d(x, K["t"], stride=2, output_padding=1),
    ),
    "gemm": (
        [("Flatten", "x", {}), ("Gemm", "0 f fb", {"transB": 1, "alpha": 2.0, "beta": 0.5})],
        lambda x: 2 * x.flatten(1) @ K["f"].t() + K["fb"] / 2,
    ),
    "matmul": ([("Reshape", "x flat", {}), ("MatMul", "0 ft", {}), ("Add", "1 fb", {})], lambda x: x.flatten(1) @ K["f"].t() + K["fb"]),
    "fixed batch": ([("Reshape", "x one", {}), ("Gemm", "0 f fb", {"transB": 1})], lambda x: F.linear(x.flatten(1), K["f"], K["fb"])),
    "free batch": ([("Reshape", "x free", {}), ("Gemm", "0 f", {"transB": 1})], lambda x: F.linear(x.flatten(1), K["f"])),
    "clip": ([("Clip", "x zero six", {})], lambda x: F.relu6(x)),
    "clip from 0": ([("Clip", "x zero", {})], F.relu),
    "leaky": ([("LeakyRelu", "x", {"alpha": 0.3})], lambda x: F.leaky_relu(x, 0.3)),
    "max pool": (
        [("MaxPool", "x", {"kernel_shape": [3, 2], "strides": [2, 1], "pads": [1, 0, 1, 0], "ceil_mode": 1})],
        lambda x: F.max_pool2d(x, (3, 2), (2, 1), (1, 0), ceil_mode=True),
    ),
    "average pool": (
        [("AveragePool", "x", {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1]})],
        lambda x: F.avg_pool2d(x, 3, 1, 1, count_include_pad=False),
    ),
    "global pool": ([("GlobalAveragePool", "x", {}), ("Flatten", "0", {"axis": 1})], lambda x: x.mean((2, 3))),
    "mean": ([("ReduceMean", "x axes", {"keepdims": 0}), ("Softmax", "0", {})], lambda x: F.softmax(x.mean((2, 3)), 1)),
    "mean keepdims": ([("ReduceMean", "x axes", {"keepdims": 1})], lambda x: x.mean((2, 3), keepdim=True)),
    "branches": (
        [("Relu", "x", {}), ("Identity", "0", {}), ("Dropout", "x", {}), ("Add", "1 2", {}), ("Concat", "3 x", {"axis": 1})],
        lambda x: torch.cat([x + F.relu(x), x], 1),
    ),
    "pad": ([("Pad", "x pads", {}), ("Relu", "0", {})], lambda x: F.relu(F.pad(x, (0, 1, 1, 2)))),
    "constants": ([("Mul", "half x", {}), ("Sub", "0 col", {}), ("Div", "1 half", {})], lambda x: (x / 2 - K["col"]) / 0.5),
    "log softmax": ([("Flatten", "x", {}), ("LogSoftmax", "0", {"axis": 1})], lambda x: F.log_softmax(x.flatten(1), 1)),
}


def write(path, nodes, outputs=1, batch="n"):
    onnx = pytest.importorskip("onnx")
    from onnx import TensorProto, helper, numpy_helper

    made = [
        helper.make_node(op, inputs.split(), [str(k)], name=f"net/{op.lower()}_{k}", **options)
        for k, (op, inputs, options) in enumerate(nodes)
    ]
    used = {name for _, inputs, _ in nodes for name in inputs.split()}
    arrays = {**K, "ft": K["f"].t().contiguous()}
    constants = [numpy_helper.from_array(value.numpy(), name) for name, value in arrays.items() if name in used]
    ends = [helper.make_tensor_value_info(str(len(nodes) - 1 - k), TensorProto.FLOAT, None) for k in range(outputs)]
    graph = helper.make_graph(made, "g", [helper.make_tensor_value_info("x", TensorProto.FLOAT, [batch, 2, 6, 6])], ends, constants)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)]), str(path))
    return path


@pytest.mark.parametrize("name", GRAPHS)
def test_onnx_graphs_are_what_torch_computes(name, tmp_path):
    nodes, function = GRAPHS[name]
    x = torch.randn(3, 2, 6, 6)
    model = load_onnx(write(tmp_path / "net.onnx", nodes))
    net = named(model, x)
    targets = [str(n.target) for n in net.nodes if n.op == "call_module"]
    assert all(target.startswith("net.") for target in targets)
    for rows in (1, 3):
        wanted = function(x[:rows])
        for given in (model(x[:rows]), net.module(x[:rows])):
            assert given.shape == wanted.shape and torch.allclose(given, wanted, rtol=1e-5, atol=1e-5)


REFUSED = {
    "operator": (
        [("Relu", "x", {}), ("Erf", "0", {})],
        r"'net/erf_1' \(Erf, node 2 of 2, after 'net/relu_0'\): is not read here, .*known are Add, Concat",
    ),
    "product": ([("Relu", "x", {}), ("MatMul", "x 0", {})], r"\(MatMul, .*: is not read here, with 2 computed inputs"),
    "constant first": (
        [("MatMul", "w x", {})],
        r"\(MatMul, node 1 of 1, the first\): its first input is a constant; the activations come first",
    ),
    "auto_pad": ([("Conv", "x w", {"auto_pad": "SAME_LOWER"})], "auto_pad='SAME_LOWER'; write the padding out as pads"),
    "uneven pool": (
        [("MaxPool", "x", {"kernel_shape": [2, 2], "pads": [0, 0, 1, 1]})],
        r"pads \[0, 0\] before and \[1, 1\] after; must be the same",
    ),
    "output_shape": ([("ConvTranspose", "x t", {"output_shape": [8, 8]})], "output_shape is given; write it as pads and output_padding"),
    "transA": ([("Flatten", "x", {}), ("Gemm", "0 f", {"transA": 1})], "transA=1 mixes the batch; must be 0"),
    "training": (
        [("BatchNormalization", "x b m b v", {"training_mode": 1})],
        "training_mode=1 normalises by the batch; export the network in evaluation",
    ),
    "dilated average": ([("AveragePool", "x", {"kernel_shape": [2, 2], "dilations": [2, 2]})], r"dilations=\[2, 2\]; must be 1"),
    "reshape": ([("Reshape", "x pads", {})], r"only flattening to \[0, -1\] is known; export x.flatten\(1\)"),
    "flatten": ([("Flatten", "x", {"axis": 2})], "axis=2; must be 1"),
    "pad axes": ([("Pad", "x line", {})], "axes are given; write pads for all of them"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused_onnx_graphs(name, tmp_path):
    nodes, message = REFUSED[name]
    with pytest.raises(ConversionError, match=message):
        load_onnx(write(tmp_path / "net.onnx", nodes))


def test_refused_onnx_files(tmp_path):
    pytest.importorskip("onnx")
    with pytest.raises(ConversionError, match="1 inputs and 2 outputs; must be one input"):
        load_onnx(write(tmp_path / "two.onnx", [("Relu", "x", {}), ("Relu", "x", {})], outputs=2))
    (tmp_path / "bad.onnx").write_text("this is none")
    with pytest.raises(ConversionError, match=r"bad.onnx: is no ONNX file: .*; write it with torch.onnx.export"):
        load_onnx(tmp_path / "bad.onnx")
