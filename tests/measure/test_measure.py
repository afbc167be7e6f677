import itertools

import numpy as np
import pytest
import torch
from torch import nn

from spikeloom import IF, MLF, SNN, measure


def _accumulates(spikes: np.ndarray, out_channels: int, kernel: int, stride: int, padding: int) -> float:
    """Walk every output, add every spike (of level k, k times) that it sees: the definition, in loops."""
    _, _, height, width = spikes.shape
    total = 0.0
    for image, y, x in itertools.product(
        spikes, range((height + 2 * padding - kernel) // stride + 1), range((width + 2 * padding - kernel) // stride + 1)
    ):
        for dy, dx in itertools.product(range(kernel), repeat=2):
            row, column = y * stride + dy - padding, x * stride + dx - padding
            if 0 <= row < height and 0 <= column < width:
                total += image[:, row, column].sum() * out_channels
    return total


@pytest.mark.parametrize(("kernel", "stride", "padding"), [(3, 1, 1), (3, 2, 1), (1, 2, 0), (5, 1, 0)])
def test_accumulates_of_a_convolution_are_counted_one_by_one(kernel, stride, padding):
    steps, images = 3, 2
    snn = SNN(nn.Sequential(nn.Conv2d(2, 5, kernel, stride, padding, bias=False)), steps, encoder=None)
    spikes = torch.randint(0, 4, (steps, images, 2, 7, 6)).float()
    (row,) = measure.operations(snn, spikes)
    expected = _accumulates(spikes.flatten(0, 1).numpy(), 5, kernel, stride, padding) / images
    assert row["acs"] == expected
    assert row["analog_macs"] == 0


def test_hand_net_of_linear_layers():
    # x = (1, 0), (1, 1) over two steps: 3 spikes into 2 outputs = 6 ACs; IF at threshold 1 with weights 1, .5:
    # u = (1, .5) -> spikes 1, 0; then (2, 1) -> 1, 1: 3 spikes into 3 outputs = 9 ACs
    net = nn.Sequential(nn.Linear(2, 2, bias=False), IF(), nn.Linear(2, 3, bias=False))
    with torch.no_grad():
        net[0].weight.copy_(torch.tensor([[1.0, 1.0], [0.5, 0.5]]))
    snn = SNN(net, 2, encoder=None)
    rows = measure.operations(snn, torch.tensor([[[1.0, 0.0]], [[1.0, 1.0]]]))
    assert [(row["macs"], row["acs"]) for row in rows] == [(4, 6.0), (6, 9.0)]
    found = measure.energy(rows)
    assert found["synops_per_image"] == 15
    assert found["energy_uJ"] == pytest.approx(15 * 0.9e-6, rel=1e-12)
    assert found["ann_energy_uJ"] == pytest.approx(10 * 4.6e-6, rel=1e-12)


def test_worked_energy_of_the_methods_section():
    # METHODS 0.5: 1e6 MACs, T = 4, rate .15 -> 6e5 ACs -> 0.54 uJ against 4.6 uJ
    found = measure.energy([{"macs": 10**6, "acs": 4 * 0.15 * 10**6, "analog_macs": 0}])
    assert found["energy_uJ"] == pytest.approx(0.54, rel=1e-12)
    assert found["ann_energy_uJ"] == pytest.approx(4.6, rel=1e-12)


def test_analog_frames_cost_macs_once_and_pooled_spikes_are_handed_on_one_by_one():
    snn = SNN(nn.Sequential(nn.Linear(3, 4)), 5, encoder="direct")
    (row,) = measure.operations(snn, torch.tensor([[0.3, 0.0, 0.7]]))
    assert (row["analog_macs"], row["acs"]) == (8.0, 0.0)  # two non-zero values into four outputs, once for all five steps
    pooled = SNN(nn.Sequential(nn.AvgPool2d(2), nn.Flatten(), nn.Linear(1, 4)), 1, encoder=None)
    (row,) = measure.operations(pooled, torch.tensor([[[[[1.0, 0.0], [1.0, 1.0]]]]]))
    assert row["acs"] == 3 * 4


def test_depthwise_convolution_reaches_only_its_group():
    snn = SNN(nn.Sequential(nn.Conv2d(4, 8, 1, groups=4, bias=False)), 1, encoder=None)
    (row,) = measure.operations(snn, torch.ones(1, 1, 4, 3, 3))
    assert row["acs"] == 4 * 9 * 2
    assert row["macs"] == 8 * 9


def test_activity_of_trains_known_by_hand():
    # four neurons fed (0, .5, 1, 2): IF at threshold 1 fires never, every second step, always, always; T = 4
    net = nn.Sequential(IF(surrogate="rectangle"))
    (row,) = measure.activity(SNN(net, 4), [torch.tensor([[0.0, 0.5, 1.0, 2.0]])])
    assert row["rate"] == pytest.approx((0 + 2 + 4 + 4) / 16)
    assert (row["silent"], row["saturated"], row["neurons"]) == (0.25, 0.5, 4)
    # the window is |u - 1| < .5: u stays 0 in the first neuron and is 2 in the last; .5 and 1 alternate in the second
    assert row["dormant"] == 0.5


def test_activity_counts_levels_of_a_multi_level_unit():
    (row,) = measure.activity(SNN(nn.Sequential(MLF()), 2), [torch.tensor([[3.0, 0.7]])])
    assert row["max_level"] == 3
    assert row["saturated"] == 0.5
    assert row["rate"] == pytest.approx((3 + 3 + 1 + 1) / 4)


def test_sample_keeps_the_raster_and_the_membrane_of_the_most_active():
    snn = SNN(nn.Sequential(nn.Flatten(), IF()), 2)
    shown = measure.sample(snn, torch.tensor([[0.5, 1.0, 0.0]]))
    assert shown["prediction"] == 1
    (layer,) = shown["layers"]
    assert layer["spikes"] == [[0, 1, 1.0], [1, 0, 1.0], [1, 1, 1.0]]
    assert layer["traces"][0] == {"neuron": 1, "membrane": [[1.0], [1.0]], "threshold": [1.0]}
