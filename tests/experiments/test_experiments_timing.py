"""Small runs of the experiments on spike times, end to end: they learn, and a run that was killed resumes to the same record."""

import dataclasses
import json
import math

import numpy as np
import pytest
import torch

from spikeloom import recipes, report
from spikeloom.core.errors import ParameterError, RecipeError
from spikeloom.experiments import clusters, maass, spikeprop
from spikeloom.experiments._figures import BINS, counted, times_histogram
from spikeloom.train.experiment import perform

SMALL = {
    "spikeprop-xor": {"seeds": 2, "epochs": 6},
    "spikeprop-iris": {"folds": 3, "fields": 4, "hidden": 3, "epochs": 2, "batch": 50, "delays": (1.0, 5.0, 9.0)},
    "spikeprop-cancer": {"folds": 2, "fields": 3, "hidden": 2, "epochs": 1, "batch": 150, "delays": (1.0, 9.0)},
    "maass-approximation": {"segments": (2, 4), "segments_2d": (2, 4), "points": 201, "points_2d": 21},
    "spike-clusters": {"sets": ("gaussians",), "starts": 2, "members": 4, "epochs": 1},
}  # fmt: skip


THREE = [["inputs", "hidden", "outputs"]]
FIRE = {  # layers in the histograms of spike times; those of a raster
    "spikeprop-xor": (THREE, THREE * 4), "spikeprop-iris": (THREE, THREE * 3), "spikeprop-cancer": (THREE, THREE * 3),
    "maass-approximation": ([], []), "spike-clusters": ([["inputs", "neurons before", "neurons after"]], [["inputs", "neurons"]] * 3),
}  # fmt: skip


def fire(record):
    """The histograms of spike times, and the rasters."""
    found = [f for f in record["figures"] if f["title"] == "When the neurons fire"]
    return found, [f for f in record["figures"] if f["kind"] == "raster"]


def stable(record):
    return json.dumps({key: value for key, value in record.items() if key != "seconds"}, sort_keys=True)


@pytest.mark.parametrize("name", sorted(SMALL))
def test_a_killed_run_resumes_to_the_same_record(name, tmp_path, monkeypatch):
    experiment = recipes.load(name, SMALL[name])
    whole = perform(experiment, tmp_path / "whole")
    run, done = type(experiment).run, []

    def killed(self, part, *rest):
        if done:
            raise KeyboardInterrupt
        done.append(part)
        return run(self, part, *rest)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(type(experiment), "run", killed)
        perform(experiment, tmp_path / "killed")
    resumed = perform(experiment, tmp_path / "killed", resume="allowed")
    assert stable(resumed) == stable(whole)
    assert resumed["parts"] == {"done": len(experiment.parts()), "of": len(experiment.parts())}
    histograms, rasters = fire(resumed)
    named = [[row["name"] for row in f["series"]] for f in histograms], [[row["name"] for row in f["groups"]] for f in rasters]
    assert named == FIRE[name]
    assert report.page(resumed).count("<b>When the neurons fire.</b>") == len(histograms)
    assert resumed["results"] and all({"kind", "title"} <= set(figure) for figure in resumed["figures"])


def test_xor_is_learnt_by_the_papers_rule(tmp_path):
    record = perform(recipes.load("spikeprop-xor", {"seeds": 1}), tmp_path)
    assert record["results"]["converged"] == 1
    assert record["results"]["slowest_epochs"] <= 250
    (rows,) = [figure["rows"] for figure in record["figures"] if figure["kind"] == "table"]
    assert [row[:3] for row in rows] == [[0, 0, 16], [0, 6, 10], [6, 0, 10], [6, 6, 16]]
    assert sum((row[3] - row[2]) ** 2 for row in rows) / 2 < 1


def test_the_histogram_counts_what_the_rasters_show(tmp_path):
    """One start of XOR: all that the histogram counts stands in the four rasters."""
    (histogram,), rasters = fire(perform(recipes.load("spikeprop-xor", {"seeds": 1, "epochs": 3}), tmp_path))
    assert histogram["series"][0]["counts"][:13] == pytest.approx([8 / 12, *[0] * 11, 4 / 12])  # 3 inputs, 4 patterns, 0 and 6 ms
    for row, groups in zip(histogram["series"], zip(*(f["groups"] for f in rasters), strict=True), strict=True):
        times = [time for group in groups for time, _ in group["points"]]
        counts, edges = np.histogram(times, BINS, (0, 26))
        assert times and max(times) < 26
        np.testing.assert_allclose(row["edges"], edges, atol=1e-12)
        np.testing.assert_allclose(row["counts"], counts / sum(group["neurons"] for group in groups), atol=1e-12)


def test_late_and_silent_neurons_in_the_histogram():
    times = torch.tensor([[0.0, 0.49, 25.9, 26.0], [80.0, math.inf, 0.5, math.inf]])
    found = counted(times, 26.0)
    assert (found["counts"][:2], found["counts"][-1], sum(found["counts"]), found["of"]) == ([2, 1], 3, 6, 8)
    assert counted(times[:0], 26.0)["counts"] == [0] * BINS
    (row,) = times_histogram("Two.", {"layer": [found, counted(torch.zeros(1, 2), 26.0)]})["series"]
    assert (row["counts"][0], row["counts"][-1]) == (0.4, 0.3)


def test_iris_is_learnt_well_beyond_chance():
    experiment = recipes.load("spikeprop-iris", {"epochs": 4, "folds": 5, "schedule": "constant"})
    found = experiment.run("fold-0", None, None, lambda share: None)
    assert found["accuracy"] > 0.8
    assert found["operations"] > 0


def test_silence_is_never_the_right_answer():
    never = torch.full((1, 2), torch.inf)
    assert spikeprop.winners(torch.cat((never, torch.tensor([[3.0, 2.0]])))).tolist() == [-1, 1]
    assert spikeprop.accuracy(never, torch.tensor([0])) == 0


@pytest.mark.parametrize("name", sorted(maass.TARGETS))
def test_units_interpolate_between_knots(name):
    """At the knots exactly; between them within the bound; on an interval the result is numpy's interpolation."""
    target, n = maass.TARGETS[name], 8
    experiment = recipes.load("maass-approximation")
    axis = torch.arange(4 * n + 1, dtype=torch.float64) / (4 * n)
    x = torch.cartesian_prod(*[axis] * target.inputs).view(-1, target.inputs)
    y = experiment.answer(x, (maass.interval if target.inputs == 1 else maass.square)(target.values, n))
    knots = ((x * n) % 1 == 0).all(1)
    torch.testing.assert_close(y[knots], target.values(x[knots]), atol=1e-12, rtol=0)
    assert (y - target.values(x)).abs().max() <= target.bound(1 / n) * (1 + 1e-9)
    if target.inputs == 1:
        import numpy as np

        np.testing.assert_allclose(y, np.interp(x[:, 0], axis[::4], target.values(axis[::4, None])), atol=1e-12)


def test_the_error_falls_as_theory_says():
    record = [recipes.load("maass-approximation").run(part, None, None, print) for part in ("sine-32", "sine-64", "root-32", "root-64")]
    errors = [found["error"] for found in record]
    assert errors[0] / errors[1] == pytest.approx(4, rel=0.02)
    assert errors[2] / errors[3] == pytest.approx(2**0.5, rel=0.02)


def test_a_neuron_stands_for_the_class_it_answers_most():
    y, winner = torch.tensor([0, 0, 0, 1, 1, 2]), torch.tensor([2, 2, 3, 3, -1, 0])
    assert clusters.assigned(y, winner) == pytest.approx(4 / 6)


def test_what_no_experiment_knows_is_refused():
    with pytest.raises(RecipeError, match=r"maass-approximation.functions: got 'sinus'; did you mean 'sine'"):
        recipes.load("maass-approximation", {"functions": "sinus"}).parts()
    with pytest.raises(RecipeError, match=r"spike-clusters.sets: got 'wine'; must be one of gaussians, iris"):
        recipes.load("spike-clusters", {"sets": "wine"}).parts()
    with pytest.raises(RecipeError, match=r"spike-clusters.distance: got 2.0; must be small enough for 5 centres"):
        recipes.load("spike-clusters", {"distance": 2.0}).gaussians(torch.Generator())
    wrong = dataclasses.replace(recipes.load("spikeprop-iris"), data="wine")
    with pytest.raises(RecipeError, match=r"spikeprop-iris.data: got 'wine'; must be one of iris, breast-cancer"):
        wrong.run("fold-0", None, None, print)
    for field, value in (("optimiser", "lbfgs"), ("schedule", "steps")):
        with pytest.raises(ParameterError, match=f"spikeprop-iris.{field}: got '{value}'"):
            recipes.load("spikeprop-iris", {field: value, "epochs": 1}).run("fold-0", None, None, print)


def test_what_counts_as_wrong():
    """Targets 10 and 16: squared counts every difference, margin only the neuron that is late and the one that is early."""
    times, targets = torch.tensor([[9.0, 18.0], [12.0, 13.0], [torch.inf, 15.0]]), torch.tensor([[10.0, 16.0]]).expand(3, 2)
    assert recipes.load("spikeprop-xor").loss(times, targets).item() == pytest.approx((1 + 4 + 4 + 9 + 256 + 1) / 2)
    assert recipes.load("spikeprop-xor", {"error": "margin"}).loss(times, targets).item() == pytest.approx((4 + 9 + 256 + 1) / 2)
    with pytest.raises(ParameterError, match=r"spikeprop-xor.error: got 'cross'"):
        recipes.load("spikeprop-xor", {"error": "cross"}).loss(times, targets)
