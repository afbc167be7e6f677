"""`spikeloom convert` and what it measures, on scikit-learn's digits."""

import contextlib
import json

import numpy as np
import pytest
import torch

from spikeloom import data, measure, study
from spikeloom.cli import main
from spikeloom.core.errors import ParameterError, RecipeError, RecordError
from spikeloom.io import weights, zoo
from spikeloom.models import ann_cnn
from spikeloom.recipes import load
from spikeloom.study import kept
from spikeloom.train import record


@pytest.fixture
def subject():
    """A network with weights nobody trained: what is measured must be right all the same."""
    torch.manual_seed(0)
    return study.Subject("ann-cnn", ann_cnn(size=8).eval(), "standardised", "none")


def test_the_study_measures_what_a_plain_loop_does(subject):
    found = study.study(subject, "rueckauer2017", "digits", 6, target=0.5, calibration=50)
    images = data.load("digits")
    x = data.normalise(torch.from_numpy(np.array(images.test_images)), images.mean, images.std)
    with torch.no_grad():
        right = (subject.net(x).argmax(1).numpy() == images.test_labels).mean()
    conversion = found["conversion"]
    assert conversion["ann_accuracy"] == pytest.approx(right, abs=1e-12)
    assert len(found["accuracy_by_step"]) == len(conversion["synops"]) == len(conversion["energy_uJ"]) == 6
    assert all(len(layer["relative_error"]) == 6 for layer in found["layers"])
    assert conversion["synops"][-1] == pytest.approx(found["synops_per_image"], rel=1e-9)
    reached = [t for t, value in enumerate(found["accuracy_by_step"], 1) if value >= 0.5 * right]
    assert conversion["steps_to_target"] == (reached[0] if reached else None)
    flat = study.answer(found)
    assert set(flat) >= {"ann_accuracy", "accuracy", "steps_to_target", "ledger", "layers", "synops", "energy_uJ"}
    json.dumps(flat)


def test_only_the_first_images_are_measured(subject):
    images, some = data.load("digits"), 37
    found = study.study(subject, "rueckauer2017", "digits", 3, calibration=50, tested=some)
    x = data.normalise(torch.from_numpy(np.array(images.test_images[:some])), images.mean, images.std)
    with torch.no_grad():
        right = (subject.net(x).argmax(1).numpy() == images.test_labels[:some]).mean()
    assert found["data"]["test"] == some and found["conversion"]["ann_accuracy"] == pytest.approx(right, abs=1e-12)
    assert all(round(a * some, 9) == round(a * some) for a in found["accuracy_by_step"])
    with pytest.raises(ParameterError, match=r"convert --images: got 0"):
        study.study(subject, "rueckauer2017", "digits", 3, tested=0)


@pytest.mark.parametrize("given", ["poisson", "rate"])
def test_spiking_inputs_are_standardised_inside(subject, given):
    found = study.study(subject, "rueckauer2017", "digits", 64, calibration=200, options={"input": given})
    assert found["conversion"]["input"] == given
    errors = [layer["relative_error"] for layer in found["layers"]]
    assert errors[0][-1] < 0.3 and errors[0][-1] < errors[0][3]


def test_bfloat16_is_measured_and_recorded(subject, monkeypatch):
    real, seen = measure.accuracy, []

    def accuracy(snn, batches, **options):
        with torch.no_grad():
            seen.append(snn(torch.rand(1, 1, 8, 8)).dtype)
        return real(snn, batches, **options)

    monkeypatch.setattr(measure, "accuracy", accuracy)
    found = {p: study.study(subject, "rueckauer2017", "digits", 4, calibration=50, precision=p) for p in ("float32", "bfloat16")}
    assert seen == [torch.float32, torch.bfloat16]
    plain, half = found["float32"], found["bfloat16"]
    assert [one["conversion"]["precision"] for one in (plain, half)] == ["float32", "bfloat16"]
    assert study.answer(half)["precision"] == "bfloat16"
    # only the accuracy is measured so
    assert plain["layers"] == half["layers"] and plain["conversion"]["ann_accuracy"] == half["conversion"]["ann_accuracy"]


def test_the_command_writes_answers_record_and_page(tmp_path, capsys):
    torch.manual_seed(0)
    weights.save(ann_cnn(), tmp_path / "w.safetensors")
    words = ["convert", "ann-cnn", "--method", "augmapping", "--data", "digits", "--steps", "2"]
    assert main([*words, "--weights", str(tmp_path / "w.safetensors")]) == 2  # digits are 8 x 8
    assert "fails on inputs (2, 1, 8, 8)" in capsys.readouterr().err
    net = ann_cnn(size=8).eval()
    torch.export.save(torch.export.export(net, (torch.rand(2, 1, 8, 8),)), tmp_path / "net.pt2")
    words[1] = str(tmp_path / "net.pt2")
    more = ["--target", "99%", "--json", str(tmp_path / "o.json"), "--out", str(tmp_path / "run"), "correction=free"]
    assert main([*words, *more, "--calibration", "64"]) == 0
    answers = json.loads((tmp_path / "o.json").read_text())
    assert len(answers["accuracy"]) == 2 and answers["target"] == 0.99
    assert {"pass", "nodes", "scale", "error"} <= set(answers["ledger"][0])
    assert (tmp_path / "run" / "report.html").stat().st_size > 10_000
    capsys.readouterr()
    assert main(["compare", str(tmp_path / "run"), "--out", str(tmp_path / "c")]) == 0
    shown = capsys.readouterr().out
    assert all(column in shown for column in ("method", "ann_accuracy", "test")) and "validated" not in shown


def test_what_is_asked_wrongly_is_refused(subject, tmp_path):
    with pytest.raises(RecipeError, match="got 'ann-cn', neither a run folder"):
        study.subject("ann-cn")
    with pytest.raises(RecipeError, match="convert --weights: got None; must be a .safetensors or .npz file"):
        study.subject("diehl2015-cnn")
    with pytest.raises(ParameterError, match=r"convert --target: got 1.5; must be a share in \(0, 1\]"):
        study.study(subject, "qcfs", "digits", 2, target=1.5)
    with pytest.raises(ParameterError, match="rueckauer2017: no option 'percent'; did you mean 'percentile'"):
        study.read_options("rueckauer2017", {"percent": "3"})
    assert study.read_options("rueckauer2017", {"percentile": "99.5", "normaliser": "Percentile"}) == {
        "normaliser": "Percentile", "percentile": 99.5,
    }  # fmt: skip
    with pytest.raises(ParameterError, match="convert --precision: got 'float16'; must be one of 'float32', 'bfloat16'"):
        study.study(subject, "opi", "digits", 2, precision="float16")
    assert study.read_options("sengupta2019", {"search_steps": "2500"}) == {"search_steps": 2500}
    with pytest.raises(SystemExit):
        main(["convert", "x", "--method", "qcfs", "--data", "digits", "--steps", "2", "--target", "most"])
    with pytest.raises(ParameterError, match="convert --pixels: got 'grey'"):
        study.study(study.Subject("n", subject.net, "grey", ""), "opi", "digits", 2)


@pytest.mark.parametrize("name", ["ann-cnn-mnist", "ann-cnn-fashion", "ann-vgg-cifar10", "ann-resnet20-cifar10"])
def test_recipes_to_convert_take_qcfs(name):
    run = load(name, {"activation": "qcfs", "levels": "8"})
    assert run.network.options["activation"] == "qcfs" and run.network.options["levels"] == 8
    assert run.steps == 1


def test_a_name_is_the_zoo_s_network_unless_weights_are_given(tmp_path, monkeypatch):
    card = {
        "name": "ann-cnn-mnist", "function": "ann_cnn", "options": {"size": 8}, "pixels": "raw", "data": "digits", "recipe": "none",
        "accuracy": 0.1, "licence": "Apache-2.0",
    }  # fmt: skip
    zoo.keep(ann_cnn(size=8), card, tmp_path / "zoo")
    weights.save(ann_cnn(), tmp_path / "own.safetensors")
    monkeypatch.setenv("SPIKELOOM_ZOO", str(tmp_path / "zoo"))
    kept = study.subject("ann-cnn-mnist")
    assert (kept.pixels, kept.weights[:3]) == ("raw", "zoo")
    own = study.subject("ann-cnn-mnist", tmp_path / "own.safetensors")  # the recipe's network
    assert (own.pixels, own.weights) == ("standardised", f"{tmp_path.name}/own.safetensors")
    monkeypatch.setenv("SPIKELOOM_ZOO", str(tmp_path))
    with pytest.raises(RecipeError, match="'ann-cnn-mnist' names a network without weights"):
        study.subject("ann-cnn-mnist")


class Stopped(Exception):
    """In place of a kill."""


def stops_after(count):
    """A progress that ends the run when so many batches have been counted, and a list of those that it gave."""
    given = []

    def progress(batches, total, what):
        for batch in batches:
            if what != "test set":
                yield batch
                continue
            if len(given) == count:
                raise Stopped
            given.append(total)
            yield batch

    return progress, given


@pytest.mark.parametrize("given", ["current", "poisson"])
def test_a_stopped_measurement_goes_on(subject, tmp_path, monkeypatch, given):
    """As if it had never stopped, with the same random numbers, and nothing is measured twice."""
    monkeypatch.setattr(kept, "EVERY", 0.0)
    asked = (subject, "rueckauer2017", "digits", 4)
    options = {"calibration": 50, "options": {"input": given}, "tested": 150}
    whole = study.study(*asked, **options, out=tmp_path / "whole")
    progress, _ = stops_after(2)
    with pytest.raises(Stopped):
        study.study(*asked, **options, progress=progress, out=tmp_path / "run")
    assert not (tmp_path / "run" / "record.json").exists()
    progress, left = stops_after(100)
    found = study.study(*asked, **options, progress=progress, out=tmp_path / "run", resume="allowed")
    assert left == [3] * 3  # of five batches of 32
    for key in ("accuracy_by_step", "synops_per_image", "accuracy"):
        assert found[key] == whole[key]
    assert found["conversion"]["early_exit"] == whole["conversion"]["early_exit"]
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["record.json"]
    assert json.loads((tmp_path / "run" / "record.json").read_text())["accuracy_by_step"] == whole["accuracy_by_step"]


def test_a_stopped_measurement_is_not_lost(subject, tmp_path, monkeypatch):
    monkeypatch.setattr(kept, "EVERY", 0.0)
    options = {"calibration": 50, "out": tmp_path}
    with pytest.raises(Stopped):
        study.study(subject, "rueckauer2017", "digits", 3, progress=stops_after(3)[0], **options)
    before = (tmp_path / kept.FILE).read_bytes()
    with pytest.raises(RecordError, match=r"stopped after 96 images; add --resume to go on with it, or give another --out"):
        study.study(subject, "rueckauer2017", "digits", 3, **options)
    with pytest.raises(RecordError, match=r"another measurement \(method, steps differ\)"):
        study.study(subject, "opi", "digits", 4, resume="allowed", **options)
    subject.net[0].weight.data[0, 0, 0, 0] += 1
    with pytest.raises(RecordError, match=r"another measurement \(network differ\)"):
        study.study(subject, "rueckauer2017", "digits", 3, resume="allowed", **options)
    assert (tmp_path / kept.FILE).read_bytes() == before
    (tmp_path / "trained").mkdir()
    (tmp_path / "trained" / "record.json").write_text(json.dumps({"schema": record.SCHEMA, "epochs": [1]}))
    with pytest.raises(RecordError, match="trained holds the record of something else; give another --out"):
        study.study(subject, "rueckauer2017", "digits", 3, out=tmp_path / "trained")
    with pytest.raises(ParameterError, match="resume: got 'sometimes'"):
        study.study(subject, "rueckauer2017", "digits", 3, resume="sometimes", **options)


def test_the_command_goes_on(tmp_path, monkeypatch, capsys):
    """Stopped by the keyboard, as soon as something has been written."""
    net = ann_cnn(size=8).eval()
    torch.export.save(torch.export.export(net, (torch.rand(2, 1, 8, 8),)), tmp_path / "net.pt2")
    words = ["convert", str(tmp_path / "net.pt2"), "--method", "opi", "--data", "digits", "--steps", "2", "--calibration", "64"]
    assert main([*words, "--resume"]) == 2
    assert "convert --resume: got 'no --out'; must be the folder of the measurement that was stopped" in capsys.readouterr().err
    words += ["--out", str(tmp_path / "run")]
    write = kept.Kept._write

    def stopped(self, tally):
        write(self, tally)
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(kept, "EVERY", 0.0)
        patched.setattr(kept.Kept, "_write", stopped)
        with contextlib.suppress(KeyboardInterrupt):
            assert main(words) != 0
    assert main(words) == 2
    assert "stopped after 32 images; add --resume" in capsys.readouterr().err
    assert main([*words, "--resume"]) == 0
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == ["record.json", "report.html"]


@pytest.mark.parametrize(
    ("method", "longest"), [("sengupta2019", ("Spike-Norm, layer by layer", 3)), ("calibration", ("correcting, layer by layer", 3))]
)
def test_long_loops_are_told(subject, method, longest):
    """Each by what it does and how many there are, one after the other: a bar can be shown for one at a time."""
    told, running = [], []

    def progress(items, total, what):
        assert not running
        running.append(what)
        items = list(items) if what != "test set" else items
        assert what == "test set" or len(items) == total
        told.append((what, total))
        yield from items
        running.pop()

    study.study(subject, method, "digits", 4, calibration=50, tested=40, progress=progress)
    assert told == [longest] * (2 if method == "calibration" else 1) + [
        ("test set, ANN", 1), ("test set", 2), ("operations", 3), ("activity", 3),
    ]  # fmt: skip
