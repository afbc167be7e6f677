import math
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from small_nets import Branches, case
from torch import nn

from spikeloom.convert import statistics
from spikeloom.convert.graph import Batches, ConversionError
from spikeloom.core.errors import DataError, ParameterError, ShapeError


def alone(data, activation=nn.ReLU, batch=7):
    """A net of one activation, so that its values are the data's."""
    c = case(nn.Sequential(activation()), Batches(data, batch), sample=data[:1])
    return c, [node for node, _ in c.net.activations()]


def seen_by_numpy(data, fraction, of, axis=None):
    values = data.numpy()
    if axis is None:
        values = values[values > 0] if of == "positive" else values
        return np.quantile(values, fraction, method="inverted_cdf")
    return [seen_by_numpy(data[:, k], fraction, of) for k in range(data.shape[1])]


@pytest.mark.parametrize("of", ["positive", "all"])
@pytest.mark.parametrize("fraction", [0.25, 0.5, 0.9, 0.999, 1.0])
def test_quantile_is_numpys_order_statistic(fraction, of):
    data = torch.randn(101, 5, 7, 3).relu() * torch.logspace(-3, 3, 5).view(5, 1, 1)
    c, nodes = alone(data)
    (layer,) = statistics.quantile(c, nodes, fraction, "layer", of).values()
    (channel,) = statistics.quantile(c, nodes, fraction, "channel", of).values()
    assert layer.item() == seen_by_numpy(data, fraction, of)
    assert channel.tolist() == [float(v) for v in seen_by_numpy(data, fraction, of, axis=1)]


@given(st.lists(st.floats(0, 2.0**127, width=32), min_size=1, max_size=40), st.integers(1, 64))
def test_quantile_of_any_floats(values, k):
    data = torch.tensor(values, dtype=torch.float32).view(-1, 1)
    c, nodes = alone(data)
    ranked = sorted(values)[math.ceil(len(values) * k / 64) - 1]
    for per in ("layer", "channel"):
        (found,) = statistics.quantile(c, nodes, k / 64, per, "all").values()
        assert found.item() == ranked


def test_quantile_reads_the_fraction_as_a_decimal():
    data = torch.arange(1.0, 1001).view(-1, 1)  # 0.999 of 1000 values is the 999th, whatever 99.9 / 100 rounds to
    c, nodes = alone(data)
    (found,) = statistics.quantile(c, nodes, 0.999).values()
    assert found == 999
    (third,) = statistics.quantile(c, nodes, Fraction(1, 3)).values()
    assert third == 334  # the 333rd is below a third


def test_quantile_rounds_float64_to_float32(float64):
    data = torch.rand(200, 3)
    c, nodes = alone(data)
    (found,) = statistics.quantile(c, nodes, 0.7).values()
    assert found.dtype == torch.float64
    assert found.item() == np.quantile(data.float().numpy(), 0.7, method="inverted_cdf")


def test_signed_activations_count_by_magnitude():
    data = torch.tensor([[1.0], [-40.0], [2.0]])
    c, nodes = alone(data, lambda: nn.LeakyReLU(0.1))
    (top,) = statistics.maxima(c, nodes).values()
    (middle,) = statistics.quantile(c, nodes, 0.5).values()
    assert top == 4.0
    assert middle == 2.0


def test_maxima_per_layer_and_channel():
    data = torch.tensor([[0.5, 3.0], [2.0, -1.0], [1.0, 0.0]])
    c, nodes = alone(data)
    (layer,), (channel,) = (statistics.maxima(c, nodes, per).values() for per in ("layer", "channel"))
    assert layer == 3.0
    assert channel.tolist() == [2.0, 3.0]


def test_silent_layers_and_channels_have_zero():
    data = torch.cat([-torch.rand(9, 1), torch.rand(9, 1)], 1)
    c, nodes = alone(data)
    (channel,) = statistics.quantile(c, nodes, 0.9, "channel").values()
    assert channel[0] == 0
    assert channel[1] > 0
    c, nodes = alone(-data.abs())
    assert [v.item() for v in (*statistics.quantile(c, nodes, 0.9).values(), *statistics.maxima(c, nodes).values())] == [0, 0]


@pytest.mark.parametrize("per", ["layer", "channel"])
def test_order_and_size_of_batches_change_no_bit(per):
    model, data = Branches(), torch.rand(50, 2, 4, 4)
    results = []
    for rows in (data.split(7), data.split(1), [data], data[torch.randperm(50)].split(16), [data[33:], data[:0], data[:33]]):
        c = case(model, Batches(list(rows)), sample=data[:2])
        nodes = [node for node, _ in c.net.activations()]
        results.append((statistics.maxima(c, nodes, per), statistics.quantile(c, nodes, 0.93, per)))
    for top, part in results[1:]:
        for name in top:
            assert torch.equal(top[name], results[0][0][name])
            assert torch.equal(part[name], results[0][1][name])


def test_memory_holds_a_few_groups_only():
    seen = []
    c, nodes = alone(torch.rand(200, 3))
    statistics.sweep(c, nodes, lambda node, value: seen.append(len(value)))
    assert seen == [64] * 3 + [8]


def test_pairs_with_labels_and_generators_are_read():
    data = torch.rand(10, 3)
    for batches in (Batches([(data[:4], 0), (data[4:], 1)]), Batches(part for part in data.split(3))):
        c = case(nn.Sequential(nn.ReLU()), batches, sample=data[:1])
        nodes = [node for node, _ in c.net.activations()]
        for _ in range(2):
            assert next(iter(statistics.maxima(c, nodes).values())) == data.max()


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_values_that_are_not_finite_are_refused_by_name(bad):
    data = torch.rand(40, 3)
    data[35, 1] = bad
    c, nodes = alone(data)
    with pytest.raises(ConversionError, match=r"_0 \(layer '0'\): its values are not all finite; look for NaN"):
        statistics.maxima(c, nodes)


@pytest.mark.parametrize("empty", [[], [torch.zeros(0, 3)]])
def test_no_data_is_refused(empty):
    c = case(nn.Sequential(nn.ReLU()), Batches(empty), sample=torch.rand(1, 3))
    with pytest.raises(DataError, match="calibration data: got 'no inputs'; must be at least one"):
        statistics.maxima(c, [node for node, _ in c.net.activations()])


def test_data_of_another_shape_or_kind_is_refused():
    for bad, error, text in (
        (torch.rand(4, 5), ShapeError, r"got \[4, 5\]; must be \[B, 3\]"),
        (torch.rand(3), ShapeError, r"got \[3\]; must be \[B, 3\]"),
        ({"x": 1}, DataError, "got 'dict'; must be tensors"),
    ):
        c = case(nn.Sequential(nn.ReLU()), Batches([bad]), sample=torch.rand(1, 3))
        with pytest.raises(error, match=text):
            statistics.maxima(c, [node for node, _ in c.net.activations()])


def test_options_are_checked():
    c, nodes = alone(torch.rand(4, 3))
    for call, text in (
        (lambda: statistics.maxima(c, nodes, "neuron"), "maxima.per: got 'neuron'"),
        (lambda: statistics.quantile(c, nodes, 0.5, "neuron"), "quantile.per: got 'neuron'"),
        (lambda: statistics.quantile(c, nodes, 0.5, "layer", "negative"), "quantile.of: got 'negative'"),
        (lambda: statistics.quantile(c, nodes, 99.9), r"quantile.fraction: got 99.9; must be in \(0, 1\]"),
    ):
        with pytest.raises(ParameterError, match=text):
            call()
