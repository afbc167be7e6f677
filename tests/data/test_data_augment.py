"""Augmentation: contracts over every file of `augment/`, brute-force windows, exact frequencies, repeatability."""

import numpy as np
import pytest
import torch

from spikeloom.core.errors import ParameterError, ShapeError
from spikeloom.data import Augment, augment, normalise
from spikeloom.data.augment.crop import Crop
from spikeloom.data.augment.cutout import Cutout
from spikeloom.data.augment.flip import Flip


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def pictures(count=64, height=6, width=7, dtype=torch.uint8):
    return torch.randint(1, 256, (count, 3, height, width), generator=generator(9)).to(dtype)


@pytest.mark.parametrize("name", augment.known)
@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32, torch.float64])
@pytest.mark.parametrize("count", [0, 1, 64])
def test_contract(name, dtype, count):
    images = pictures(count, 32, 32, dtype)
    before, state = images.clone(), torch.get_rng_state()
    one, two = (augment.known[name]().apply(images, generator(4)) for _ in range(2))
    assert one.shape == images.shape and one.dtype == dtype and torch.equal(one, two)
    assert torch.equal(images, before) and torch.equal(torch.get_rng_state(), state)
    if count > 1:
        assert not torch.equal(one, images)
        assert not torch.equal(one, augment.known[name]().apply(images, generator(5)))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("name", augment.known)
def test_every_device_sees_the_same_images(name):
    images = pictures()
    on_device = augment.known[name]().apply(images.cuda(), generator(4))
    assert on_device.is_cuda and torch.equal(on_device.cpu(), augment.known[name]().apply(images, generator(4)))


def test_flip_twice_is_the_identity():
    images = pictures()
    once = Flip().apply(images, generator(1))
    assert torch.equal(Flip().apply(once, generator(1)), images)
    mirrored = torch.from_numpy(np.ascontiguousarray(images.numpy()[..., ::-1]))
    which = [(bool(torch.equal(a, b)), bool(torch.equal(a, c))) for a, b, c in zip(once, images, mirrored, strict=True)]
    assert set(which) == {(True, False), (False, True)}


def test_flip_rate_is_one_half():
    images = torch.tensor([0.0, 1.0]).expand(10_000, 1, 1, 2)
    rate = Flip().apply(images, generator(2))[:, 0, 0, 0].mean().item()
    assert abs(rate - 0.5) < 5 * 0.5 / 10_000**0.5


def test_crop_without_padding_is_the_identity():
    images = pictures()
    assert torch.equal(Crop(pad=0).apply(images, generator()), images)


def test_crop_cuts_every_window_equally_often():
    pad, count = 2, 20_000
    image = pictures(1)
    padded = np.pad(image[0].numpy(), ((0, 0), (pad, pad), (pad, pad)))
    windows = {padded[:, i : i + 6, j : j + 7].tobytes(): 0 for i in range(5) for j in range(5)}
    for cut in Crop(pad).apply(image.expand(count, -1, -1, -1), generator(3)).numpy():
        windows[cut.tobytes()] += 1  # a KeyError is a window that does not exist
    share = np.array(list(windows.values())) / count
    assert len(windows) == 25 and abs(share - 0.04).max() < 5 * (0.04 * 0.96 / count) ** 0.5


@pytest.mark.parametrize("size", [1, 2, 3, 4])
def test_cutout_cuts_each_pixel_as_often_as_centres_reach_it(size):
    count, height, width = 20_000, 6, 7
    cut = (Cutout(size).apply(torch.ones(count, 1, height, width), generator(6)) == 0).double().mean(0)[0].numpy()

    def reach(length):
        return np.array([sum(c - size // 2 <= i < c - size // 2 + size for c in range(length)) / length for i in range(length)])

    expected = np.outer(reach(height), reach(width))
    assert abs(cut - expected).max() < 5 * (0.25 / count) ** 0.5


def test_cutout_is_one_clipped_square_over_all_channels():
    images, size = pictures(200), 4
    allowed = set()
    for y in range(6):
        for x in range(7):
            keep = np.ones((6, 7), bool)
            keep[max(0, y - 2) : y + 2, max(0, x - 2) : x + 2] = False
            allowed.add(keep.tobytes())
    for image, cut in zip(images.numpy(), Cutout(size).apply(images, generator(7)).numpy(), strict=True):
        kept = cut == image
        assert (kept | (cut == 0)).all() and (kept == kept[0]).all() and kept[0].tobytes() in allowed


def test_cutout_of_twice_the_side_leaves_nothing():
    assert not Cutout(14).apply(pictures(), generator(8)).any()


def test_augment_is_a_pure_function_of_seed_rank_epoch_and_batch():
    images = pictures(64, 32, 32)
    names = ("flip", "crop", "cutout")
    once = Augment(names, seed=3)(images, 5, 7)
    torch.manual_seed(99)
    assert torch.equal(Augment(("flip", Crop(4), Cutout(16)), seed=3)(images, 5, 7), once)
    for seed, rank, epoch, batch in ((4, 0, 5, 7), (3, 1, 5, 7), (3, 0, 6, 7), (3, 0, 5, 8), (3, 0, 7, 5)):
        assert not torch.equal(Augment(names, seed, rank)(images, epoch, batch), once)


class AddOne(augment.Augmentation):
    """Not random: it shows where in the order it ran."""

    def apply(self, images, generator):
        return images + 1


def test_augment_applies_in_order():
    images = pictures()
    assert Augment()(images, 0, 0) is images
    assert not Augment((AddOne(), Cutout(14)))(images, 0, 0).any()
    assert (Augment((Cutout(14), AddOne()))(images, 0, 0) == 1).all()


def test_normalise_by_hand():
    images = torch.tensor([[[[0, 255]], [[51, 102]]]], dtype=torch.uint8)  # 0, 1, 0.2, 0.4
    assert torch.equal(normalise(images), torch.tensor([[[[0.0, 1.0]], [[0.2, 0.4]]]]))
    found = normalise(images, (0.5, 0.2), (0.25, 0.1))
    torch.testing.assert_close(found, torch.tensor([[[[-2.0, 2.0]], [[0.0, 2.0]]]]))
    assert images.dtype == torch.uint8 and images.max() == 255


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: Augment(("flop",)), ParameterError, "augmentation: got 'flop'; did you mean 'flip'"),
        (lambda: Crop(-1), ParameterError, "Crop.pad: got -1; must be at least 0 pixels"),
        (lambda: Cutout(0), ParameterError, "Cutout.size: got 0; must be at least 1 pixel"),
        (lambda: normalise(torch.zeros(1, 1, 2, 2)), ShapeError, "normalise images: got 'torch.float32'; must be torch.uint8"),
        (lambda: normalise(pictures(), (0.5, 0.5), (1.0, 1.0)), ShapeError, r"mean and std: got \(2, 2\); must be one value for each of 3"),
        (lambda: normalise(pictures(), (0.5,), (1.0, 1.0, 1.0)), ShapeError, r"mean and std: got \(1, 3\)"),
    ],
)
def test_refusals(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_a_name_carries_its_size_after_a_colon():
    assert Augment(("crop:2", "cutout:5")).augmentations == (Crop(2), Cutout(5))
    with pytest.raises(ParameterError, match="augmentation 'crop': got 'two'; must be a whole number of pixels"):
        Augment(("crop:two",))
    with pytest.raises(ParameterError, match="augmentation: got 'flip:2'; must be 'flip' alone"):
        Augment(("flip:2",))
