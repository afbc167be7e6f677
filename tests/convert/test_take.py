import pytest
import torch
from torch import fx, nn
from torch.nn import functional as F

from spikeloom.convert.graph import ConversionError
from spikeloom.convert.passes import known
from spikeloom.convert.take import take
from spikeloom.nn.activations import QCFS

x = torch.randn(3, 2, 4, 4, generator=torch.Generator().manual_seed(1))


def named(model, sample=x):
    net = take(model, sample)
    known["NameModules"]().run(net)
    return net


def test_the_model_is_not_changed():
    model = nn.Sequential(nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3), nn.ReLU(inplace=True), nn.Dropout()).train()
    before = {k: v.clone() for k, v in model.state_dict().items()}
    sample = x.clone()
    net = named(model, sample)
    for name in ("SplitShared", "RemoveDropout", "FoldNorms"):
        known[name]().run(net)
    assert model.training and model[1].training and model[2].inplace
    assert torch.equal(sample, x)
    assert all(p.requires_grad for p in model.parameters())
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    assert not any(p.requires_grad for p in net.module.parameters()) and not any(m.training for m in net.module.modules())


def test_layers_keep_their_names():
    model = nn.Sequential()
    model.add_module("stem", nn.Sequential(nn.Conv2d(2, 3, 3), QCFS()))
    model.add_module("head", nn.Sequential(nn.Flatten(), nn.Linear(12, 2)))
    targets = [node.target for node in named(model).nodes if node.op == "call_module"]
    assert targets == ["stem.0", "stem.1", "head.0", "head.1"]


def test_a_single_layer_is_a_network():
    layer = nn.Linear(4, 2)
    sample = torch.randn(2, 4)
    assert torch.equal(named(layer, sample).module(sample), layer(sample))


def test_arguments_with_defaults_keep_them():
    class Optional(nn.Module):
        def forward(self, x, mask=None, gain=2.0):
            return x * gain if mask is None else x + mask

    assert torch.equal(named(Optional()).module(x), 2 * x)


def test_a_loop_over_sizes_goes_through_export_with_any_batch():
    class Branching(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(2, 3, 3, padding=1)

        def forward(self, x):
            y = F.relu(self.conv(x))
            return y.flatten(1) if y.shape[1] > 2 else y

    model = Branching()
    net = named(model)
    for rows in (1, 2, 3):
        assert torch.allclose(net.module(x[:rows]), model(x[:rows]))
    assert [n.target for n in net.nodes if n.op == "call_module"] == ["conv", "relu", "flatten"]


def test_an_in_place_sum_that_fx_does_not_see_goes_through_export():
    class InPlace(nn.Module):
        def forward(self, x):
            y = x * 2
            z = y
            z += x  # torch.fx records a new value; y has it too
            return F.relu(y)

    assert torch.equal(named(InPlace()).module(x), F.relu(3 * x))


def test_weights_computed_from_others_become_plain():
    model = nn.utils.parametrizations.weight_norm(nn.Conv2d(2, 3, 3))
    net = named(nn.Sequential(model, nn.ReLU()))
    assert set(dict(net.module.named_parameters())) == {"0.weight", "0.bias"}
    assert torch.allclose(net.module(x), F.relu(model(x)))
    assert nn.utils.parametrize.is_parametrized(model)  # and it works as before


def test_an_old_style_weight_norm_is_baked_in():
    with pytest.warns(FutureWarning):
        model = nn.utils.weight_norm(nn.Conv2d(2, 3, 3)).requires_grad_(False)
    model.weight = model.weight.detach()
    net = named(nn.Sequential(model, nn.ReLU()))
    assert torch.allclose(net.module(x), F.relu(model(x)))


def test_hooks_do_not_go_along():
    seen = []
    model = nn.Sequential(nn.Conv2d(2, 3, 3), nn.ReLU())
    model[1].register_forward_hook(lambda *_: seen.append(1))
    net = named(model)
    seen.clear()
    net.module(x)
    assert not seen


def test_a_graph_of_torch_fx_is_taken_as_it_is():
    model = nn.Sequential(nn.Conv2d(2, 3, 3), nn.ReLU())
    net = named(fx.symbolic_trace(model))
    assert torch.equal(net.module(x), model(x))


@pytest.mark.parametrize("sample", [torch.zeros(0, 2), torch.zeros(3), torch.zeros(2, 3, dtype=torch.long), [1.0]])
def test_refused_samples(sample):
    with pytest.raises(ConversionError, match=r"sample: got .*must be a floating-point tensor of a few inputs \[B, \.\.\.\]"):
        take(nn.ReLU(), sample)


class Calls(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x):
        return self.function(x)


class DataDependent(nn.Module):
    def forward(self, x):
        return x if x.sum() > 0 else -x


class Uncopied(nn.Module):
    def __deepcopy__(self, memo):
        raise RuntimeError("not me")


@pytest.mark.parametrize(
    "model, message",
    [
        (
            DataDependent(),
            r"DataDependent: cannot be traced; torch.fx: .*control flow.*; torch.export: .*; take data-dependent control flow",
        ),
        (Uncopied(), r"Uncopied: cannot be copied: not me; take off old-style weight norms"),
        (nn.Linear(9, 2), r"Linear: fails on inputs \(2, 2, 4, 4\) of torch.float32: mat1 and mat2"),
        (Calls(lambda x: (x, x)), r"Calls: gives tuple; must be one tensor \[B, \.\.\.\]; wrap it"),
        (Calls(lambda x: x.mean(0, keepdim=True)), r"Calls: 2 inputs give \(1, 2, 4, 4\); axis 0 must be the batch"),
        (Calls(lambda x: x - x.mean(0)), r"Calls: an input gets another answer in another batch; a layer mixes the batch or draws"),
        (Calls(lambda x: x + torch.rand(())), r"Calls: an input gets another answer in another batch; .* random numbers"),
    ],
)
def test_refused_models(model, message):
    with pytest.raises(ConversionError, match=message):
        take(model, x)


def test_a_graph_with_two_inputs_or_outputs_is_refused():
    class Two(nn.Module):
        def forward(self, x, y):
            return x + y

    with pytest.raises(ConversionError, match=r"2 inputs; must be one tensor \[B, \.\.\.\]; wrap the network"):
        take(fx.symbolic_trace(Two()), x)
    with pytest.raises(ConversionError, match=r"2 outputs; must be one tensor \[B, \.\.\.\]; wrap the network"):
        take(fx.symbolic_trace(Calls(lambda x: (x + 1, x + 2))), x)


def test_a_trace_with_another_output_is_refused():
    class Counting(nn.Module):
        """A number that changes from call to call, which no trace can know."""

        def __init__(self):
            super().__init__()
            self.calls = 0

        def forward(self, x):
            self.calls += 1
            return x * (1 if self.calls < 3 else 2)

    with pytest.raises(ConversionError, match="torch.fx: the traced graph gives another output than the network"):
        take(Counting(), x)
