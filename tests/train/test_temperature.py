import pytest
import torch
from torch import nn

from spikeloom import LIF, SNN, losses
from spikeloom.core.errors import ParameterError
from spikeloom.surrogates import Dspike
from spikeloom.train.temperature import alignment, choose_temperature, finite_difference


def test_finite_differences_are_exact_on_a_quadratic_for_any_step():
    generator = torch.Generator().manual_seed(0)
    x, y = (torch.randn(8, n, generator=generator, dtype=torch.float64) for n in (5, 3))
    weight = nn.Parameter(torch.randn(3, 5, generator=generator, dtype=torch.float64))

    def loss() -> torch.Tensor:
        return (x @ weight.T - y).square().sum()

    (exact,) = torch.autograd.grad(loss(), weight)
    before = weight.detach().clone()
    for eps in (1e-3, 0.1, 3.0):
        torch.testing.assert_close(finite_difference(loss, weight.detach(), eps), exact, rtol=1e-9, atol=1e-9)
        assert torch.equal(weight, before)


def _step_classifier(temperature: float) -> tuple[SNN, object]:
    """One layer of step neurons on Gaussian points of five features, enough of them that the finite differences are smooth."""
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(8192, 5, generator=generator)
    y = (x[:, 0] + 0.5 * x[:, 1] > 0).long()
    torch.manual_seed(2)
    neuron = LIF(threshold=0.5, surrogate=Dspike(temperature=temperature))
    snn = SNN(nn.Sequential(nn.Linear(5, 2, bias=False), neuron), steps=1)
    return snn, lambda: losses.rate_mse(snn(x), y)


def test_sharper_surrogates_point_more_like_the_finite_differences_and_the_chooser_moves_there():
    snn, loss = _step_classifier(1.0)
    weight = snn.net[0].weight
    target = finite_difference(loss, weight.detach(), 0.1)
    cosines = []
    for b in (0.5, 2.0, 8.0):
        snn.net[1].surrogate = Dspike(temperature=b)
        cosines.append(alignment(loss, weight, target))
    assert cosines == sorted(cosines)
    snn.net[1].surrogate = Dspike(temperature=1.0)
    scores = choose_temperature(snn, loss, weight, step=0.5)
    assert set(scores) == {1.0, 1.5, 0.5}
    assert snn.net[1].surrogate.temperature == 1.5


def test_temperatures_stay_in_range_and_other_networks_are_refused():
    snn, loss = _step_classifier(10.0)
    choose_temperature(snn, loss, snn.net[0].weight)
    assert 0.1 <= snn.net[1].surrogate.temperature <= 10
    with pytest.raises(ParameterError, match="a network with Dspike surrogates"):
        choose_temperature(nn.Linear(2, 2), loss, snn.net[0].weight)
