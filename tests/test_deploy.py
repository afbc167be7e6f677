"""`spikeloom compile` and `spikeloom run`, on scikit-learn's digits."""

import json
import subprocess
import sys

import numpy as np
import pytest
import torch

import spikeloom
from spikeloom import data, deploy, infer, measure, study
from spikeloom.cli import main
from spikeloom.core.errors import DataError, ParameterError, RecipeError
from spikeloom.io import weights
from spikeloom.models import ann_cnn
from spikeloom.recipes import load
from spikeloom.train.run import build


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run folder of a spiking network, one epoch old."""
    folder = tmp_path_factory.mktemp("runs") / "stbp"
    assert main(["train", "stbp-digits", "--out", str(folder), "epochs=1", "steps=3"]) == 0
    return folder


@pytest.fixture
def exported(tmp_path):
    torch.manual_seed(0)
    torch.export.save(torch.export.export(ann_cnn(size=8).eval(), (torch.rand(2, 1, 8, 8),)), tmp_path / "net.pt2")
    return tmp_path / "net.pt2"


def test_a_trained_network_is_compiled_and_run(trained, tmp_path, capsys):
    file, answers = tmp_path / "net.safetensors", tmp_path / "answers.json"
    assert main(["compile", str(trained), "--out", str(file)]) == 0
    assert main(["run", str(file), "--data", "digits", "--batch", "50", "--threads", "1", "--json", str(answers)]) == 0
    shown, found = capsys.readouterr().out, json.loads(answers.read_text())
    recorded = json.loads((trained / "record.json").read_text())
    assert found["accuracy"] == pytest.approx(recorded["accuracy_by_step"], abs=2 / found["images"])
    assert found["images"] == recorded["data"]["test"] and found["ms_per_image"] > 0 and found["threads"] == 1
    assert {row["way"] for row in found["layers"]} <= {"fused", "events", "dense"}
    assert all(row["reason"] or row["way"] != "dense" for row in found["layers"])
    assert "ms an image" in shown and "how its layers ran" in shown


def test_a_network_is_converted_compiled_and_run(exported, tmp_path):
    file, answers = tmp_path / "net.safetensors", tmp_path / "answers.json"
    words = ["--method", "diehl2015-data", "--data", "digits", "--steps", "4", "--pixels", "raw", "--calibration", "32"]
    assert main(["compile", str(exported), "--out", str(file), *words, "pool_neurons=none"]) == 0
    assert main(["run", str(file), "--data", "digits", "--images", "70", "--json", str(answers)]) == 0
    found, images = json.loads(answers.read_text()), data.load("digits")
    one = study.subject(str(exported), pixels="raw")
    made = study.ready(one, "diehl2015-data", images, 4, calibration=32, options={"pool_neurons": "none"})
    assert found["images"] == 70 and found["about"]["options"] == {"pool_neurons": "none"} and found["about"]["pixels"] == "raw"
    torch.manual_seed(0)
    labels = torch.tensor(images.test_labels[:70])
    batches = list(zip(made.prepare(images.test_images[:70]).split(16), labels.split(16), strict=True))
    runner = spikeloom.compile(made.snn)
    runner(batches[0][0])
    torch.manual_seed(0)
    assert found["accuracy"] == measure.accuracy(runner, batches).by_step


def test_weights_in_a_recipe_and_other_steps(tmp_path):
    run = load("stbp-digits")
    torch.manual_seed(0)
    snn = build(run).eval()
    weights.save(snn.net, tmp_path / "w.safetensors")
    runner = deploy.compiled("stbp-digits", weights_file=tmp_path / "w.safetensors", steps=2)
    images = data.load("digits")
    x = data.normalise(torch.from_numpy(np.array(images.test_images[:3])), images.mean, images.std)
    snn.steps = 2
    torch.testing.assert_close(runner(x), snn(x), rtol=1e-4, atol=1e-4)
    assert runner.about["pixels"] == "standardised" and runner.about["shape"] == [1, 8, 8]


def test_a_file_runs_alone(trained, tmp_path):
    """Loading and calling a Runner imports neither Lightning nor data, training, reports or conversion's front ends."""
    file = tmp_path / "net.safetensors"
    deploy.compiled(str(trained)).save(file)
    code = f"""
import sys, torch, spikeloom.infer
runner = spikeloom.infer.load({str(file)!r})
print(list(runner(torch.zeros(2, 1, 8, 8)).shape))
foreign = ("lightning", "torchmetrics", "sklearn", "pyarrow", "PIL", "onnx")
parts = ("train", "data", "recipes", "report", "study", "deploy", "bench", "cli", "experiments", "measure")
print(sorted(name for name in sys.modules if name in foreign or name in {{"spikeloom." + part for part in parts}}))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["[3, 2, 10]", "[]"]


def test_what_is_asked_wrongly_is_refused(trained, exported, tmp_path):
    with pytest.raises(RecipeError, match="compile: got 'stbp-digit', neither a run folder nor a recipe; did you mean 'stbp-digits'"):
        deploy.compiled("stbp-digit")
    with pytest.raises(RecipeError, match="compile --weights: got None"):
        deploy.compiled("stbp-digits")
    with pytest.raises(RecipeError, match="'ann-cnn-mnist' has no spiking neurons; convert it: give --method"):
        deploy.compiled("ann-cnn-mnist", weights_file=tmp_path / "w.safetensors")
    with pytest.raises(RecipeError, match="compile --steps: got None; must be given with --method"):
        deploy.compiled(str(exported), method="opi", set_name="digits")
    with pytest.raises(RecipeError, match="compile: got {'reset': 'zero', 'pixels': None}; must be given with --method"):
        deploy.compiled(str(trained), options={"reset": "zero"})
    (tmp_path / "converted").mkdir()
    held = {"schema": 1, "recipe": "net", "title": "net converted", "overrides": {}}
    (tmp_path / "converted" / "record.json").write_text(json.dumps(held))
    with pytest.raises(RecipeError, match="holds the record of 'net converted' and no weights"):
        deploy.compiled(str(tmp_path / "converted"))
    runner = deploy.compiled(str(trained))
    for name, options in {"batch": {"batch": 0}, "images": {"count": 0}, "threads": {"threads": 0}}.items():
        with pytest.raises(ParameterError, match=f"run --{name}: got 0; must be a whole number of at least 1"):
            deploy.measured(runner, "digits", **options)
    runner.about["shape"] = [3, 32, 32]
    with pytest.raises(DataError, match=r"run --data digits: got \[1, 8, 8\]; must be images of \[3, 32, 32\], as digits"):
        deploy.measured(runner, "digits")
    runner.about = {}
    with pytest.raises(DataError, match="does not say which images it takes"):
        deploy.measured(runner, "digits")
    with pytest.raises(DataError, match="no file"):
        infer.load(tmp_path / "none.safetensors")
