"""Accuracy, operations and fidelity by number of steps."""

import pytest
import torch
from torch import nn

import spikeloom
from spikeloom import IF, SNN, measure
from spikeloom.core.errors import ParameterError


def test_accuracy_and_early_exit_by_hand():
    # running means: (2, 0), (0, 1), (0, 4/3) for the first input, (0, 0) then class 1 for the second
    answers = torch.tensor([[[2.0, 0.0], [0.0, 0.0]], [[-2.0, 2.0], [0.0, 2.0]], [[0.0, 2.0], [0.0, 4.0]]])
    snn = SNN(nn.Identity(), 3, encoder=None)
    found = measure.accuracy(snn, [(answers, torch.tensor([1, 1]))], confidences=(0.8, 0.75))
    # first: class 0, then 1, 1; second: a tie goes to class 0, then 1, 1
    assert found.by_step == [0.0, 1.0, 1.0]
    # softmax of (2, 0) is .881, so the first input leaves at once, wrongly; the second: (0, 1) is .731, (0, 2) is .881 at step 3
    assert found.early[0] == {"confidence": 0.8, "accuracy": 0.5, "mean_steps": 2.0}
    assert found.early[1] == {"confidence": 0.75, "accuracy": 0.5, "mean_steps": 2.0}
    assert (found.steps_to(0.5), found.steps_to(1.0), found.steps_to(1.1)) == (2, 2, None)


def test_accuracy_refuses_what_it_cannot_use():
    snn = SNN(nn.Identity(), 1, encoder=None)
    with pytest.raises(ParameterError, match="accuracy confidences: got 1.0; must be between 0 and 1"):
        measure.accuracy(snn, [], confidences=(1.0,))
    with pytest.raises(ParameterError, match="got 'no input'"):
        measure.accuracy(snn, [])


def test_operations_step_by_step_are_those_of_shorter_runs():
    head = [nn.ConvTranspose2d(4, 3, 2, 2), IF(), nn.Flatten(), nn.Linear(108, 5)]
    net = nn.Sequential(nn.Conv2d(2, 4, 3, padding=1), IF(), nn.AvgPool2d(2), *head)
    x = torch.rand(6, 2, 2, 6, 6)
    by_step = measure.operations_by_step(SNN(net, 6, encoder=None), x)
    for steps in (1, 3, 6):
        rows = measure.operations(SNN(net, steps, encoder=None), x[:steps])
        for row, long in zip(rows, by_step, strict=True):
            assert row["acs"] == pytest.approx(long["acs"][:steps].sum().item(), rel=1e-9)


def test_a_transposed_convolution_reaches_its_kernel():
    # one spike, kernel 2 x 2, stride 2, 3 output channels: 12 accumulates
    snn = SNN(nn.Sequential(nn.ConvTranspose2d(1, 3, 2, 2)), 1, encoder=None)
    x = torch.zeros(1, 1, 1, 4, 4)
    x[0, 0, 0, 1, 2] = 1
    (row,) = measure.operations(snn, x)
    assert (row["acs"], row["macs"]) == (12, 16 * 12)


def test_a_prelude_is_paid_at_the_first_step():
    snn = SNN(nn.Sequential(nn.Linear(1, 1)), 2, encoder=None, prelude=3)
    x = torch.tensor([1.0, 1.0, 0.0, 1.0, 1.0]).view(5, 1, 1)
    (row,) = measure.operations_by_step(snn, x)
    assert row["acs"].tolist() == [3, 1]


def test_fidelity_of_one_layer_is_its_rounding(float64):
    net = nn.Sequential(nn.Linear(1, 1, bias=False), nn.ReLU()).eval()
    net[0].weight.data.fill_(1.0)
    snn = spikeloom.convert(net, "rueckauer2017", torch.tensor([[1.0]]), 8, normaliser="Unscaled")
    (row,) = measure.fidelity(snn, torch.tensor([[0.625]]))
    counts = [int(0.625 * t) for t in range(1, 9)]  # 0 1 1 2 3 3 4 5
    assert row["relative_error"] == pytest.approx([abs(n / t - 0.625) / 0.625 for t, n in enumerate(counts, 1)], abs=1e-12)
    assert (row["scale"], row["activation"]) == (1.0, 0.625)
