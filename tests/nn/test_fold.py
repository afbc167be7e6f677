import torch
from torch import nn

from spikeloom import SNN, fold_norms, models


def _trained(net: nn.Module) -> nn.Module:
    """Running statistics and affine parameters away from their start."""
    for module in net.modules():
        if hasattr(module, "running_mean"):
            module.running_mean.normal_(0, 0.3)
            module.running_var.uniform_(0.5, 2)
            if module.weight is not None:
                nn.init.uniform_(module.weight, 0.5, 1.5)
                nn.init.normal_(module.bias, 0, 0.2)
    return net.double().eval()


def test_folded_networks_give_the_same_outputs():
    for net, size, channels in (
        (models.ds_resnet(8, channels=(4, 6, 8), epsilon="outside"), 8, 3),
        (models.tdbn_resnet19(stem=8), 8, 3),
        (models.sew_net(((4, 2),), size=4), 4, 2),
    ):
        snn = SNN(_trained(net), steps=3)
        folded = SNN(fold_norms(snn.net), steps=3)
        x = torch.rand(2, channels, size, size, dtype=torch.float64)
        norms = [m for m in folded.modules() if hasattr(m, "running_mean")]
        assert not norms
        torch.testing.assert_close(folded(x), snn(x), rtol=0, atol=1e-10)


def test_a_norm_before_its_convolution_stays():
    net = models.ds_resnet20_gesture()
    assert sum(hasattr(m, "running_mean") for m in fold_norms(net).modules()) == 1
