"""Orders and splits: SplitMix64 against its published numbers, permutations, exact stratified sizes."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spikeloom import data
from spikeloom.core.errors import ParameterError
from spikeloom.data.order import key, permutation, split, stream


def test_splitmix64_published_numbers():
    # seed 1234567: https://rosettacode.org/wiki/Pseudo-random_numbers/Splitmix64; seed 0: Java's SplittableRandom and Vigna's C code
    expected = [6457827717110365317, 3203168211198807973, 9817491932198370423, 4593380528125082431, 16408922859458223821]
    assert stream(1234567, 5).tolist() == expected
    assert stream(0, 1).tolist() == [0xE220A8397B1DCDAF]


@given(st.integers(0, 300), st.integers(-(2**70), 2**70), st.integers(0, 10**6))
def test_permutation_holds_every_index_once(count, seed, epoch):
    order = permutation(count, seed, epoch)
    assert order.dtype == np.int64 and sorted(order.tolist()) == list(range(count))


def test_keys_tell_their_numbers_apart():
    keys = {key(a, b) for a in range(40) for b in range(40)} | {key(a) for a in range(40)}
    assert len(keys) == 1640


def test_every_place_is_equally_likely():
    trials, count = 4000, 5
    places = np.stack([permutation(count, 7, epoch) for epoch in range(trials)])
    frequency = np.stack([(places == value).mean(0) for value in range(count)])
    assert abs(frequency - 1 / count).max() < 5 * (0.2 * 0.8 / trials) ** 0.5


@given(st.lists(st.integers(0, 6), min_size=2, max_size=200), st.data())
def test_split_is_a_stratified_partition(labels, draw):
    labels = np.array(labels)
    validation = draw.draw(st.integers(0, len(labels) - 1))
    train, held_out = split(labels, validation, seed=3)
    assert train.dtype == held_out.dtype == np.int64 and len(held_out) == validation
    assert sorted([*train.tolist(), *held_out.tolist()]) == list(range(len(labels)))
    assert (np.diff(train) > 0).all() and (np.diff(held_out) > 0).all()
    for label in np.unique(labels):
        assert abs((labels[held_out] == label).sum() - (labels == label).sum() * validation / len(labels)) < 1


def test_split_repeats_and_follows_the_seed():
    labels = np.arange(1000) % 10
    first, again, other = split(labels, 100, 1)[1], split(labels, 100, 1)[1], split(labels, 100, 2)[1]
    np.testing.assert_array_equal(first, again)
    assert len(np.intersect1d(first, other)) < 40  # 10 expected


@pytest.mark.parametrize("validation", [-1, 4, 5])
def test_split_refuses_sizes(validation):
    with pytest.raises(ParameterError, match=rf"split validation: got {validation}; must be at least 0 and below the 4 labels"):
        split(np.zeros(4, int), validation)


@pytest.mark.parametrize("card", data.known.values(), ids=lambda card: card.key)
def test_validation_sizes_of_balanced_sets(card):
    labels = np.arange(card.train) % 10
    train, held_out = split(labels, card.validation)
    assert len(train) + len(held_out) == card.train
    assert np.ptp(np.bincount(labels[held_out])) <= 1
