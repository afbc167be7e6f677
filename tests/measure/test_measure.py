import itertools

import numpy as np
import pytest
import torch
from torch import nn

from spikeloom import IF, MLF, SNN, measure
from spikeloom.timing import RelPSPConv2d, RelPSPLinear


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


def test_timing_layers_count_every_spike_that_arrives_once_per_synapse():
    net = nn.Sequential(RelPSPConv2d(1, 2, 2), nn.Flatten(), RelPSPLinear(8, 3))
    with torch.no_grad():
        net[0].weight.fill_(1.0)
        net[0].weight[1] = -1.0
        net[2].weight.fill_(1.0)
    x = torch.tensor([[[[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 0.0]]]])
    snn = SNN(net, 1, "first_spike")
    first, last = measure.operations(snn, x)
    # the corner reaches one patch of four, the centre all of them, each two channels; four neurons of the first channel fire
    assert (first["kind"], first["macs"], first["acs"], first["analog_macs"]) == ("RelPSPConv2d", 2 * 4 * 4, 10, 0)
    assert (last["kind"], last["macs"], last["acs"], last["analog_macs"]) == ("RelPSPLinear", 24, 12, 0)
    assert measure.energy([first, last])["synops_per_image"] == 22
    rows = measure.activity(snn, [x, x])
    assert [(row["name"], row["kind"], row["neurons"], row["max_level"]) for row in rows] == [
        ("0", "RelPSPConv2d", 8, 1), ("2", "RelPSPLinear", 3, 1),
    ]  # fmt: skip
    assert [(row["rate"], row["silent"], row["dormant"], row["saturated"]) for row in rows] == [(0.5, 0.5, 0.5, 0), (1, 0, 0, 0)]
    # patches with one spike at 0 fire at 1, that with two at 1/2; the last layer: 1 = (t - 1/2) + 3 (t - 1) from 1 on, but V(1) = 1/2
    assert rows[0]["mean_time"] == pytest.approx((0.5 + 3 * 1) / 4)
    assert rows[1]["mean_time"] == pytest.approx((1 + 0.5 + 3) / 4)
    times = rows[0]["times"]
    assert sum(times["counts"]) == 8 and (times["counts"][0], times["counts"][-1]) == (2, 6)
    assert (times["edges"][0], times["edges"][-1]) == (0.5, 1)
    assert len(times["edges"]) == len(times["counts"]) + 1
    shown = measure.sample(snn, x)["layers"]
    assert [layer["neurons"] for layer in shown] == [8, 3]
    assert shown[0]["spikes"] == [[0.5, 0, 1.0], [1.0, 1, 1.0], [1.0, 2, 1.0], [1.0, 3, 1.0]]
    assert shown[0]["traces"] == []


def test_every_layer_of_a_network_of_spike_times_is_shown():
    snn = SNN(nn.Sequential(*(RelPSPLinear(4, 4) for _ in range(6))), 1, "first_spike")
    assert [layer["name"] for layer in measure.sample(snn, torch.ones(1, 4))["layers"]] == list("012345")
    deep = SNN(nn.Sequential(*(RelPSPLinear(4, 4) for _ in range(15))), 1, "first_spike")
    assert [layer["name"] for layer in measure.sample(deep, torch.ones(1, 4))["layers"]] == [str(2 * i) for i in range(8)]


def test_a_timing_layer_where_nothing_fires_has_no_times():
    snn = SNN(nn.Sequential(RelPSPLinear(2, 3)), 1, "first_spike")
    (row,) = measure.activity(snn, [torch.zeros(1, 2)])
    assert (row["rate"], row["silent"], row["mean_time"], row["times"]) == (0, 1, None, None)


def test_late_spikes_do_not_squash_the_histogram():
    from spikeloom.measure.activity import _histogram

    found = _histogram(torch.cat([torch.linspace(0, 1, 999), torch.tensor([1e6])]))["times"]
    assert found["edges"][-1] == 1e6 and found["edges"][-2] < 1
    assert sum(found["counts"]) == 1000 and found["counts"][-1] >= 10
    assert _histogram(torch.tensor([2.0, 2.0]))["times"] == {"edges": [2, 3], "counts": [2]}
