import pytest
import torch

from spikeloom import losses, recipes
from spikeloom.core.errors import ParameterError, RecipeError
from spikeloom.train import build, schedule
from spikeloom.train.run import Run, Training, papers

NAMED = {
    "stbp-mnist", "stbp-fashion", "stbp-mlp-mnist", "mlf-dsresnet-fashion", "mlf-dsresnet-small-cifar10", "mlf-dsresnet20-cifar10",
    "sew-7b-gesture", "sew-wide7b-cifar10dvs", "tdbn-resnet19-cifar10", "relpsp-mlp-mnist", "relpsp-cnn-mnist", "relpsp-mlp-fashion",
    "relpsp-cnn-fashion",
}  # fmt: skip
SIDE = {"nmnist_1k": 34, "dvs_gesture": 128, "cifar10_dvs": 128}  # of event cameras
INPUT = {"digits": (1, 8, 8), "mnist": (1, 28, 28), "fashion_mnist": (1, 28, 28), "cifar10": (3, 32, 32)}
PARAMS = {
    "stbp-mnist": 211_690, "stbp-fashion": 211_690, "stbp-mlp-mnist": 636_010,
    "mlf-dsresnet20-cifar10": 4_327_754, "sew-7b-gesture": 130_426,
    "sew-wide7b-cifar10dvs": 1_192_218, "nmnist-1k": 32 * 2 * 25 + 64 * 32 * 9 + 10 * 64 * 81, "relpsp-mlp-mnist": 784 * 800 + 800 * 10,
    "relpsp-cnn-fashion": 16 * 25 + 32 * 16 * 25 + 512 * 800 + 800 * 128 + 128 * 10,
}  # fmt: skip


def test_the_published_rows_are_there():
    assert set(recipes.known) >= NAMED


RUNS = sorted(name for name, function in recipes.known.items() if isinstance(function(), Run))


@pytest.mark.parametrize("name", sorted(recipes.known))
def test_every_recipe_is_known_under_its_name(name):
    assert recipes.load(name).recipe == name


@pytest.mark.parametrize("name", RUNS)
def test_every_recipe_builds_and_takes_two_optimiser_steps(name):
    steps = 1 if recipes.load(name).encoder == "first_spike" else 2
    run = recipes.load(name, {"steps": steps})
    snn = build(run)
    if name in PARAMS:
        assert sum(p.numel() for p in snn.parameters()) == PARAMS[name]
    side = SIDE.get(run.data.name)
    x = torch.rand(2, *INPUT[run.data.name]) if side is None else torch.randint(0, 2, (2, 2, 2, side, side)).float()
    optimiser = schedule.optimiser(run.training, snn.parameters())
    before = [p.detach().clone() for p in snn.parameters()]
    for _ in range(2):
        outputs = snn(x)
        loss = losses.build(run.training.loss)(outputs, torch.tensor([0, 1]))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert outputs.shape[:2] == (steps, 2)
    assert torch.isfinite(loss)
    assert any(not torch.equal(a, b) for a, b in zip(before, snn.parameters(), strict=True))
    assert run.paper in papers(run)
    assert (run.encoder == "none") == (run.data.frames != "none") == (run.data.name in SIDE)


def test_overrides_are_read_as_their_field_and_leave_the_rest():
    run = recipes.load("mlf-dsresnet-fashion", {"levels": "2", "block": "plain", "lr": "0.05", "channels": "8,16", "augment": "flip"})
    assert run.network.options["levels"] == 2
    assert run.network.options["block"] == "plain"
    assert run.network.options["channels"] == (8, 16)
    assert run.training.lr == 0.05
    assert run.data.augment == ("flip",)
    assert run.steps == recipes.load("mlf-dsresnet-fashion").steps


def test_misspelt_names_are_refused_with_the_nearest():
    with pytest.raises(RecipeError, match="no field 'epoch'; did you mean 'epochs'"):
        recipes.load("stbp-mnist", {"epoch": "3"})
    with pytest.raises(RecipeError, match="got 'stbp-minst'; did you mean 'stbp-mnist'"):
        recipes.load("stbp-minst")
    with pytest.raises(RecipeError, match=r"stbp-mnist.epochs: got 'three'; must be of type int"):
        recipes.load("stbp-mnist", {"epochs": "three"})
    with pytest.raises(RecipeError, match=r"nmnist-1k.encoder: got 'direct'; must be 'none'; frames='time' have a time axis already"):
        build(recipes.load("nmnist-1k", {"encoder": "direct"}))
    with pytest.raises(ParameterError, match=r"ds_resnet.block: got 'dense'"):
        build(recipes.load("mlf-dsresnet-fashion", {"block": "dense"}))


def test_schedules_against_their_formulas():
    step = Training(epochs=100, batch=1, schedule="step", step_every=40, step_factor=0.1)
    assert [schedule.factor(step, e * 7, 7) for e in (0, 39, 40, 80)] == pytest.approx([1, 1, 0.1, 0.01])
    cosine = Training(epochs=10, batch=1, schedule="cosine")
    assert [schedule.factor(cosine, s, 10) for s in (0, 50, 100)] == pytest.approx([1, 0.5, 0])
    warm = Training(epochs=10, batch=1, schedule="cosine", warmup=1)
    rates = [schedule.factor(warm, s, 10) for s in range(11)]
    assert rates == sorted(rates)
    assert rates[10] == 1
    with pytest.raises(ParameterError, match=r"training.schedule: got 'linear'"):
        schedule.factor(Training(epochs=1, batch=1, schedule="linear"), 0, 1)
    with pytest.raises(ParameterError, match=r"training.optimiser: got 'lamb'"):
        schedule.optimiser(Training(epochs=1, batch=1, optimiser="lamb"), [])
