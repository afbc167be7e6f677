import json
import os

import pytest
import torch

import spikeloom
from spikeloom import data
from spikeloom.core.errors import DataError
from spikeloom.io import zoo
from spikeloom.models import ann_cnn

CARD = {
    "name": "small", "function": "ann_cnn", "options": {"size": 8}, "pixels": "raw", "data": "digits", "recipe": "none", "accuracy": 0.1,
    "licence": "Apache-2.0",
}  # fmt: skip


@pytest.fixture
def kept(tmp_path):
    net = ann_cnn(size=8).eval()
    zoo.keep(net, CARD, tmp_path)
    return net, tmp_path


def test_what_is_kept_is_loaded(kept, monkeypatch):
    net, folder = kept
    x = torch.rand(3, 1, 8, 8)
    again = spikeloom.load("small", folder)
    assert torch.equal(again(x), net(x)) and not again.training
    assert again.card.data == "digits"
    monkeypatch.setenv("SPIKELOOM_ZOO", str(folder))
    assert torch.equal(spikeloom.load("small")(x), net(x))
    assert list(zoo.cards()) == ["small"]


def test_a_file_that_is_not_the_cards_is_refused(kept):
    _, folder = kept
    file = folder / "small.safetensors"
    file.write_bytes(file.read_bytes()[:-4] + b"abcd")
    with pytest.raises(DataError, match="its card says .* it is truncated or another file"):
        spikeloom.load("small", folder)
    file.unlink()
    with pytest.raises(DataError, match="no file .*small.safetensors beside its card"):
        spikeloom.load("small", folder)
    (folder / "small.json").write_text(json.dumps({"name": "small"}))
    with pytest.raises(DataError, match="small.json is no card"):
        spikeloom.load("small", folder)


def test_unknown_names_and_folders_are_refused(kept, tmp_path, monkeypatch):
    with pytest.raises(DataError, match="zoo: got 'smal'; did you mean 'small'"):
        spikeloom.load("smal", kept[1])
    with pytest.raises(DataError, match="zoo: no folder .*nowhere"):
        spikeloom.load("small", tmp_path / "nowhere")
    monkeypatch.setattr(zoo, "_CHECKOUT", tmp_path / "nowhere")
    monkeypatch.delenv("SPIKELOOM_ZOO", raising=False)

    def unreachable(*names):
        raise ConnectionError("no network")

    monkeypatch.setattr("huggingface_hub.hf_hub_download", unreachable)
    with pytest.raises(DataError, match=r"small.json cannot be fetched from spikeloom/zoo .* set SPIKELOOM_ZOO"):
        spikeloom.load("small")


def test_every_network_of_the_zoo_loads():
    for name, card in zoo.cards().items():
        assert zoo.load(name).card == card
        assert card.name == name


@pytest.mark.parametrize("name", sorted(zoo.cards()))
def test_a_card_s_accuracy_is_that_of_its_weights(name):
    card = zoo.cards()[name]
    if not os.environ.get("SPIKELOOM_DATA"):
        pytest.skip("SPIKELOOM_DATA is not set: no data to evaluate on")
    if card.pixels == "counts":
        pytest.skip("a spiking network: tests/bench/test_bench_stream.py runs it")
    images, net = data.load(card.data), zoo.load(name)
    standard = (images.mean, images.std) if card.pixels == "standardised" else ()
    right = 0
    with torch.no_grad():
        for start in range(0, 2000, 250):
            x = data.normalise(torch.tensor(images.test_images[start : start + 250]), *standard)
            right += int((net(x).argmax(1) == torch.tensor(images.test_labels[start : start + 250])).sum())
    # 2,000 of the 10,000 images: four standard deviations of such a sample
    assert abs(right / 2000 - card.accuracy) < 4 * (card.accuracy * (1 - card.accuracy) * (1 / 2000 - 1 / 10_000)) ** 0.5
