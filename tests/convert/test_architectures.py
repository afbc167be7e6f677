"""Networks that others wrote, from pytorchcv (MIT), with 64 x 64 inputs (32 x 32 for CIFAR's): a head for that size is the only change."""

import pytest
import torch
from torch import nn


def load(name):
    provider = pytest.importorskip("pytorchcv.model_provider")
    model = provider.get_model(name, pretrained=False)
    if name == "bn_vgg11":
        model.output.fc1.fc, model.output.fc2.fc, model.output.fc3 = nn.Linear(2048, 64), nn.Linear(64, 64), nn.Linear(64, 10)
    else:
        owner = model.output if name.startswith("squeezenet") else model.features
        owner.final_pool = nn.AvgPool2d({"squeezenet_v1_0": 3, "resnet20_cifar10": 8}.get(name, 2))
    return model


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind, tolerance", [(torch.float32, 1e-4), (torch.float64, 1e-10)])
@pytest.mark.parametrize("name", ["resnet18", "bn_vgg11", "mobilenetv2_w1", "densenet121", "resnet20_cifar10", "squeezenet_v1_0"])
def test_architectures_keep_their_function(name, kind, tolerance, convert):
    model = convert.norms(load(name)).to(kind)
    size = 32 if name.endswith("cifar10") else 64
    x = torch.randn(2, 3, size, size, dtype=kind)
    with torch.no_grad():
        wanted = model(x)
        for stage, net in convert.stages(model, x):
            assert convert.relative(net.module(x), wanted) <= tolerance, stage
    assert len(net.scales) == sum(1 for node in net.nodes if isinstance(net.of(node), (nn.ReLU, nn.ReLU6)) or "Clip" in str(net.of(node)))
