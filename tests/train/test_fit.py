import dataclasses
import json
from pathlib import Path

import lightning
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from spikeloom import recipes
from spikeloom.core.errors import DataError, ParameterError, RecipeError, RecordError, SpikeloomError
from spikeloom.io import weights
from spikeloom.train import build, record
from spikeloom.train.checkpoint import SafeCheckpointIO
from spikeloom.train.evaluate import evaluate
from spikeloom.train.fit import fit
from spikeloom.train.keeper import picked_epoch
from spikeloom.train.run import Data, Network

TINY = {"epochs": 2, "steps": 3}


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> tuple[Path, dict]:
    out = tmp_path_factory.mktemp("run")
    return out, fit(recipes.load("stbp-digits", TINY), out, overrides=TINY)


def test_the_record_says_what_was_run_and_what_came_out(trained):
    out, found = trained
    assert record.read(out) == record.plain(found)
    assert (found["schema"], found["recipe"], found["overrides"], found["steps"], found["seed"]) == (1, "stbp-digits", TINY, 3, 0)
    # 10 + 9 * 32 and so on, by hand: conv 32*9+32, conv 32*32*9+32, 128 -> 128, 128 -> 10
    assert found["params"] == (9 * 32 + 32) + (32 * 32 * 9 + 32) + (128 * 128 + 128) + (128 * 10 + 10)
    accuracy, epochs = found["accuracy"], found["epochs"]
    assert len(epochs) == 2
    assert accuracy["last"] == epochs[-1]["test_accuracy"]
    assert accuracy["best"] == max(row["test_accuracy"] for row in epochs)
    assert accuracy["validated"] == epochs[found["picked_epoch"]]["test_accuracy"]
    # the saved weights, loaded and evaluated again, are the epoch that was picked
    assert accuracy["test"] == pytest.approx(accuracy["validated"], abs=1e-6)
    assert accuracy["test"] == found["accuracy_by_step"][-1]
    assert len(found["accuracy_by_step"]) == 3
    assert [row["name"] for row in found["layers"]] == ["neuron1", "neuron2", "neuron3", "neuron4"]
    assert found["synops_per_image"] > 0 and found["energy_uJ"] > 0 and found["ann_energy_uJ"] > 0
    assert found["data"] | {"fingerprint": ""} == {
        "name": "digits", "train": 1293, "validation": 144, "test": 360, "classes": list("0123456789"), "fingerprint": "",
    }  # fmt: skip
    assert len(found["samples"]) == 3


def test_evaluating_the_saved_weights_gives_the_recorded_accuracy(trained):
    out, found = trained
    again = evaluate(recipes.load("stbp-digits", TINY), out / "weights.safetensors")
    for key in ("accuracy_by_step", "layers", "operations", "synops_per_image", "energy_uJ", "params"):
        assert again[key] == found[key]


def test_training_begins_with_the_weights_that_are_given(trained, tmp_path):
    out, found = trained
    still = {"epochs": 1, "steps": 3, "lr": 1e-30}  # nothing moves in float32
    run = recipes.load("stbp-digits", still)
    tuned = fit(run, tmp_path / "tuned", overrides=still, start=out)
    kept, begun = weights.read(tmp_path / "tuned" / "weights-last.safetensors"), weights.read(out / "weights.safetensors")
    assert kept.keys() == begun.keys() and all(torch.equal(kept[name], begun[name]) for name in begun)
    assert tuned["accuracy"]["last"] == round(found["accuracy"]["test"], 6)  # rows of epochs have six decimals
    assert tuned["start"]["weights"].endswith("/weights.safetensors") and len(tuned["start"]["sha256"]) == 64 and tuned["fresh"] == []
    assert found["start"] is None
    with pytest.raises(RecordError, match=r"another run \(start differ\)"):
        fit(run, tmp_path / "tuned", resume="allowed", overrides=still)
    assert fit(run, tmp_path / "tuned", resume="allowed", overrides=still, start=out)["accuracy"] == tuned["accuracy"]
    with pytest.raises(DataError, match="no-such-network"):
        fit(run, tmp_path / "other", start="no-such-network")


def test_scales_that_begin_fitted_are_fitted_once(tmp_path):
    """Weights of a ReLU network bring no scales, those of a QCFS network keep theirs."""
    plain = recipes.load("ann-cnn-mnist", {"epochs": 1, "lr": 1e-30})  # nothing moves in float32
    small = {"size": 8, "channels": (2, 2), "hidden": 4}
    relu = dataclasses.replace(plain, data=Data("digits"), network=Network("ann_cnn", small))
    qcfs = dataclasses.replace(relu, network=Network("ann_cnn", {**small, "activation": "qcfs", "begins": "fitted"}))
    fit(relu, tmp_path / "relu")
    fitted = fit(qcfs, tmp_path / "fitted", start=tmp_path / "relu")
    found = weights.read(tmp_path / "fitted" / "weights-last.safetensors")
    scales = {name: value.item() for name, value in found.items() if name.endswith("scale")}
    assert sorted(fitted["fresh"]) == sorted(scales) and len(scales) == 3 and 8 not in scales.values()
    shifted = {name: value + 1 if name in scales else value for name, value in found.items()}
    save_file(shifted, tmp_path / "shifted.safetensors")
    fit(qcfs, tmp_path / "again", start=tmp_path / "shifted.safetensors")
    kept = weights.read(tmp_path / "again" / "weights-last.safetensors")
    assert {name: kept[name].item() for name in scales} == pytest.approx({name: value + 1 for name, value in scales.items()}, abs=1e-6)


def test_a_folder_that_holds_a_run_is_not_overwritten(trained):
    out, _ = trained
    with pytest.raises(RecordError, match="holds a run already; add --resume"):
        fit(recipes.load("stbp-digits", TINY), out)
    with pytest.raises(ParameterError, match=r"resume: got 'yes'; must be one of 'never', 'allowed'"):
        fit(recipes.load("stbp-digits", TINY), out, resume="yes")
    with pytest.raises(RecordError, match=r"holds another run \(steps differ\)"):
        fit(recipes.load("stbp-digits", {**TINY, "steps": 4}), out, resume="allowed")


def test_resuming_a_finished_run_changes_nothing(trained):
    out, found = trained
    before = (out / "weights-last.safetensors").read_bytes()
    again = fit(recipes.load("stbp-digits", TINY), out, resume="allowed", overrides=TINY)
    assert (out / "weights-last.safetensors").read_bytes() == before
    assert again["epochs"] == found["epochs"]
    assert again["accuracy"] == found["accuracy"]


def _built_with(monkeypatch, damage) -> None:
    """Have `fit` damage the network that it builds."""
    from spikeloom.train import fit as module

    build = module.build

    def damaged(run):
        snn = build(run)
        damage(snn.net)
        return snn

    monkeypatch.setattr(module, "build", damaged)


def test_a_loss_that_becomes_nan_stops_with_the_layers_name(tmp_path, monkeypatch):
    _built_with(monkeypatch, lambda net: net[8].register_forward_hook(lambda layer, inputs, output: output * float("nan")))
    with pytest.raises(SpikeloomError, match="the loss is nan at epoch 0, batch 0; first in the output of layer '8'"):
        fit(recipes.load("mlf-dsresnet-digits", {"steps": 1, "epochs": 1}), tmp_path / "run")


def test_a_rate_that_breaks_the_weights_stops_with_the_layers_name(tmp_path):
    with pytest.raises(SpikeloomError, match=r"the loss is \w+ at epoch 0, batch \d+; .*layer '[\w.]+'"):
        fit(recipes.load("mlf-dsresnet-digits", {"lr": 1e38, "warmup": 0, "steps": 1, "epochs": 1}), tmp_path / "run")


def test_broken_weights_behind_silent_neurons_stop_the_run_before_anything_is_kept(tmp_path, monkeypatch):
    # a neuron whose membrane is NaN is silent: the loss stays finite
    _built_with(monkeypatch, lambda net: nn.init.constant_(net.conv2.weight, float("nan")))
    with pytest.raises(SpikeloomError, match=r"at the end of epoch 0; the weights of layer 'conv[12]' are not finite"):
        fit(recipes.load("stbp-digits", {"steps": 1, "epochs": 1}), tmp_path / "run")
    assert not (tmp_path / "run" / "record.json").exists()


def test_checkpoints_are_plain_data_and_refuse_anything_else(tmp_path):
    file, state = tmp_path / "c.safetensors", {"a": torch.arange(3), 4: [1, (2.5, None)], "text": "x", "nested": {"b": torch.ones(2, 2)}}
    SafeCheckpointIO().save_checkpoint(state, file)
    back = SafeCheckpointIO().load_checkpoint(file)
    assert torch.equal(back["a"], state["a"]) and torch.equal(back["nested"]["b"], state["nested"]["b"])
    assert back[4] == [1, (2.5, None)] and back["text"] == "x"
    assert [p.name for p in tmp_path.iterdir()] == ["c.safetensors"]
    with pytest.raises(RecordError, match=r"checkpoint.model is a Linear, which is not plain data"):
        SafeCheckpointIO().save_checkpoint({"model": nn.Linear(1, 1)}, file)
    file.write_bytes(b"broken")
    with pytest.raises(RecordError, match="cannot be read"):
        SafeCheckpointIO().load_checkpoint(file)


def test_the_first_of_the_best_validated_epochs_is_picked():
    assert picked_epoch([{"val_accuracy": a} for a in (0.1, 0.7, 0.5, 0.7)]) == 1


def test_records_that_cannot_be_read_are_refused_by_name(tmp_path):
    with pytest.raises(RecordError, match=r"no such file; make one with `spikeloom train"):
        record.read(tmp_path)
    with pytest.raises(RecordError, match="no such file"):
        record.read(Path(__file__))
    (tmp_path / "record.json").write_text("{")
    with pytest.raises(RecordError, match="not JSON"):
        record.read(tmp_path)
    (tmp_path / "record.json").write_text(json.dumps({"schema": 99}))
    with pytest.raises(RecordError, match="schema 99; this version reads schema 1"):
        record.read(tmp_path)


@pytest.mark.parametrize(("kind", "pattern"), [("csv", "log/*/metrics.csv"), ("tensorboard", "log/*/events*"), ("none", None)])
def test_each_logger_leaves_its_file(tmp_path, kind, pattern):
    pytest.importorskip("tensorboard")
    fit(recipes.load("stbp-digits", {"epochs": 1, "steps": 1, "batch": 64, "logger": kind}), tmp_path)
    assert bool(list(tmp_path.glob("log/**/*"))) == (pattern is not None)
    if pattern:
        assert list(tmp_path.glob(pattern))


def test_a_missing_tensorboard_is_named(tmp_path, monkeypatch):
    import lightning.pytorch.loggers

    def absent(*args, **options):
        raise ModuleNotFoundError("tensorboard")

    monkeypatch.setattr(lightning.pytorch.loggers, "TensorBoardLogger", absent)
    with pytest.raises(RecipeError, match="which is not installed; run `pip install tensorboard`"):
        fit(recipes.load("stbp-digits", {"epochs": 1, "logger": "tensorboard"}), tmp_path)


def test_gradient_clipping_bounds_every_step(tmp_path):
    # plain SGD at rate 1 moves by the clipped gradient: 40 batches of at most 1e-6 each
    changes = {"epochs": 1, "steps": 1, "optimiser": "sgd", "momentum": 0, "lr": 1.0, "clip": 1e-6, "schedule": "constant"}
    run = recipes.load("stbp-digits", changes)
    fit(run, tmp_path)
    lightning.seed_everything(run.training.seed, verbose=False)
    start = dict(build(run).net.named_parameters())
    after = weights.read(tmp_path / "weights.safetensors")
    moved = sum((after[name] - value).square().sum() for name, value in start.items()) ** 0.5
    assert 0 < moved <= 40 * 1e-6 * 1.001
