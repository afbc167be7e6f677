import pytest
import torch
from torch import nn

import spikeloom
from spikeloom.convert import ConversionError
from spikeloom.core.errors import ParameterError
from spikeloom.models import ann_cnn, ann_resnet, diehl2015_cnn


def rules(found):
    return {(each.layer, each.rule, each.done, each.training) for each in found.breaks}


def test_a_network_that_keeps_the_rules_is_left_as_it_is():
    net = diehl2015_cnn().eval()
    found = spikeloom.tailor(net, "cao2015")
    x = torch.rand(3, 1, 28, 28)
    assert not found.breaks
    assert torch.equal(found.model(x), net(x))


def test_every_break_is_named_and_rewritten():
    net = nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4), nn.LeakyReLU(0.1), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(4 * 16 * 16, 5)
    ).eval()
    found = spikeloom.tailor(net, rules="cao2015")
    assert rules(found) == {
        ("3", "average pools, no max pools", "rewritten", "needed"),
        ("2", "ReLU, no LeakyReLU", "rewritten", "needed"),
        ("1", "no batch norm", "rewritten", "kept"),
        ("0", "no bias", "rewritten", "needed"),
        ("5", "no bias", "rewritten", "needed"),
    }
    kinds = [type(m) for m in found.model.modules()]
    assert nn.AvgPool2d in kinds and nn.ReLU in kinds
    assert not {nn.MaxPool2d, nn.LeakyReLU, nn.BatchNorm2d} & set(kinds)
    assert all(m.bias is None for m in found.model.modules() if isinstance(m, (nn.Conv2d, nn.Linear)))
    assert isinstance(net[3], nn.MaxPool2d) and net[0].bias is not None  # the given one is not changed
    assert not spikeloom.tailor(found.model, "cao2015").breaks
    assert all(p.requires_grad for p in found.model.parameters())


def test_a_folded_norm_keeps_the_function_up_to_its_shift(float64):
    net = nn.Sequential(nn.Conv2d(3, 4, 3, bias=False), nn.BatchNorm2d(4), nn.ReLU()).eval()
    net[1].running_var.uniform_(0.5, 2)
    nn.init.uniform_(net[1].weight, 0.5, 2)
    found, x = spikeloom.tailor(net, "cao2015"), torch.rand(2, 3, 32, 32)
    # mean and shift are 0, so that the bias which is dropped was 0 too
    torch.testing.assert_close(found.model(x), net(x), rtol=1e-12, atol=1e-12)


def test_the_rules_for_residual_networks():
    class Late(nn.Module):
        def __init__(self):
            super().__init__()
            self.stem = nn.Conv2d(3, 4, 7, 2, 3, bias=False)
            self.act, self.conv = nn.ReLU(), nn.Conv2d(4, 4, 3, 2, 1, bias=False)
            self.pool, self.head = nn.AvgPool2d(2), nn.Linear(4, 5, bias=False)

        def forward(self, x):
            x = self.act(self.stem(x))
            x = self.conv(x) + self.pool(x)
            return self.head(x.mean((2, 3)))

    found = {each.rule: each for each in spikeloom.tailor(Late(), "sengupta2019").breaks}
    assert found["a ReLU behind the residual sum"].done == "rewritten"
    assert found["a 1x1 convolution where a shortcut changes the shape"].done == "put one there"
    assert found["three 3x3 convolutions in place of the first 7x7 one"].layer == "stem"
    model = spikeloom.tailor(Late(), "sengupta2019").model
    assert model(torch.rand(2, 3, 32, 32)).shape == (2, 5)
    ours = ann_resnet(8)
    assert {each.rule for each in spikeloom.tailor(ours, "sengupta2019").breaks} == {"no batch norm", "no bias"}


def test_wrong_rules_and_unknown_inputs_are_refused():
    with pytest.raises(ParameterError, match="tailor rules: got 'cao'; did you mean 'cao2015'"):
        spikeloom.tailor(ann_cnn(), "cao")
    with pytest.raises(ConversionError, match=r"takes none of the inputs .* give sample="):
        spikeloom.tailor(nn.Sequential(nn.Conv2d(1, 1, 3), nn.Flatten(), nn.Linear(7, 2)), "cao2015")
    fitting = nn.Sequential(nn.Conv2d(1, 1, 3), nn.Flatten(), nn.Linear(15, 2))
    assert spikeloom.tailor(fitting, "cao2015", torch.rand(2, 1, 5, 7)).breaks
