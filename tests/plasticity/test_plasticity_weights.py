"""Normalisation, pictures and names of neurons, by hand."""

import pytest
import torch

from spikeloom.core.errors import ShapeError
from spikeloom.plasticity import assign, fields, normalise, predict
from spikeloom.plasticity.labels import UNNAMED


def test_columns_sum_to_the_total():
    w = torch.rand(784, 37, dtype=torch.float64)
    scaled = normalise(w, 78.0)
    assert (scaled.sum(0) - 78).abs().max() < 1e-9
    assert torch.allclose(scaled / scaled[0], w / w[0], rtol=1e-12)
    assert torch.equal(normalise(torch.zeros(3, 2), 78.0), torch.zeros(3, 2))


def test_fields_lie_in_a_grid():
    w = torch.zeros(4, 3)
    w[:, 1], w[2, 2] = torch.tensor([1.0, 0.0, 0.5, 0.0]), 2.0
    picture = fields(w, 2, most=1.0)
    assert picture.shape == (5, 5) and picture.dtype == torch.uint8
    assert picture[:2, 3:].tolist() == [[0, 255], [128, 255]]
    assert picture[3:, :2].tolist() == [[255, 255], [0, 255]]  # the third in the second row, stronger than black is black
    assert (picture[2] == 255).all() and (picture[:, 2] == 255).all() and (picture[3:, 3:] == 255).all()
    with pytest.raises(ShapeError, match=r"fields weights: got \[4, 3\]; must be \[3 \* 3, neurons\]"):
        fields(w, 3)


def test_names_and_predictions():
    counts = torch.tensor([[4, 0, 1, 0], [2, 1, 1, 0], [0, 3, 1, 0]])
    labels = torch.tensor([0, 1, 1])
    names = assign(counts, labels, 3)  # means of neuron 0: 4 and 1; of 1: 0 and 2; of 2: 1 and 1, the first is taken
    assert names.tolist() == [0, 1, 0, UNNAMED]
    # class 0 has two neurons: its mean is 3; class 1 has 4; the nameless neuron does not vote
    assert predict(torch.tensor([[5, 4, 1, 99], [5, 2, 1, 99]]), names, 3).tolist() == [1, 0]
    with pytest.raises(ShapeError, match=r"assign: got \[\[3, 4\], \[2\]\]; must be counts \[images, neurons\] and labels \[images\]"):
        assign(counts, labels[:2], 3)
    with pytest.raises(ShapeError, match=r"predict names: got \[3\]; must be one for each of the 4 neurons"):
        predict(counts, names[:3], 3)
