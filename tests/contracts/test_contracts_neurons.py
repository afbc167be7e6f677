"""Every contract on every neuron of the registry, and on the documentation's example of a neuron of one's own."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

import spikeloom
from spikeloom import neurons, testing

DOCS = Path(__file__).parents[2] / "docs"
names = [name for name, _ in testing.contracts]


def own_neuron():
    spec = importlib.util.spec_from_file_location("own_neuron", DOCS / "own_neuron.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.AdaptiveLIF


@pytest.mark.parametrize("contract", names)
@pytest.mark.parametrize("neuron_class", [*neurons.known.values(), own_neuron()], ids=lambda c: c.__name__)
def test_contract(neuron_class, contract):
    testing.hold(contract, neuron_class)


# what options cannot change, or what would only build more kernels, is left out
SAME = {"hand trace", "reductions", "half precision", "purity", "smooth gradients", "detached gradients", "per channel gradients"}


@pytest.mark.parametrize("contract", [name for name in names if name not in SAME])
@pytest.mark.parametrize("cls, options", [("LIF", {"tau": 2.0}), ("LIF", {"decay": 1.0}), ("MLF", {"levels": 2, "spacing": 0.5})])
def test_contract_with_options(cls, options, contract):
    testing.hold(contract, neurons.known[cls], **options)


def test_the_ledger_names_what_exists():
    for cls, contract in testing.UNSUPPORTED:
        assert cls in neurons.known
        assert contract in names


def test_every_neuron_gives_a_hand_trace_and_a_paper():
    for name, cls in neurons.known.items():
        assert cls.hand_trace, name
        assert cls.paper.bibtex(), name


def test_the_documented_example_is_short_and_runs():
    source = (DOCS / "own_neuron.py").read_text()
    body = source[source.index("class AdaptiveLIF") : source.index("if __name__")].strip().splitlines()
    assert len(body) < 25
    environment = {**os.environ, "SPIKELOOM_BACKEND": "reference", "PYTHONPATH": str(Path(spikeloom.__file__).parents[1])}
    shown = subprocess.run([sys.executable, DOCS / "own_neuron.py"], capture_output=True, text=True, check=True, env=environment)
    assert shown.stdout.strip() == "torch.Size([6, 3, 2])"
