"""Discovery: a file beside its siblings is registered by existing; the library's own registries; papers; the light import."""

import importlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import spikeloom
from spikeloom import models, neurons, surrogates
from spikeloom.core import bibliography, registry
from spikeloom.core.errors import ParameterError, SpikeloomError
from spikeloom.core.paper import Paper
from spikeloom.nn import activations, blocks, encoders, losses, norms


@pytest.fixture
def package(tmp_path, monkeypatch):
    """Writes files into a new package and imports it."""
    monkeypatch.syspath_prepend(tmp_path)

    def write(name, **files):
        folder = tmp_path / name
        folder.mkdir()
        for file, text in {"__init__": "", **files}.items():
            (folder / f"{file}.py").write_text(text)
        importlib.invalidate_caches()
        return importlib.import_module(name)

    return write


def test_a_new_file_is_found(package):
    b = "from kinds.base import Base\nclass Two(Base): pass\nclass _Hidden(Base): pass"
    a = "from kinds.base import Base\nfrom kinds.b import Two\nclass One(Two): pass\nclass Other: pass"
    kinds = package("kinds", base="class Base: pass", b=b, a=a, _draft="1/0")
    found = registry.classes(kinds, importlib.import_module("kinds.base").Base)
    assert list(found) == ["One", "Two"]


def test_functions_of_files_only(package):
    tools = package("tools", saw="from math import sqrt\nfrom json import dumps\ndef saw(): pass\ndef _grip(): pass")
    assert list(registry.functions(tools)) == ["saw"]


def test_one_name_twice_is_refused(package):
    one = "from twins.base import Base\nclass One(Base): pass"
    twins = package("twins", base="class Base: pass", a=one, b=one)
    with pytest.raises(SpikeloomError, match=r"One: defined in twins\.a and again in twins\.b; rename one"):
        registry.classes(twins, importlib.import_module("twins.base").Base)


def test_lookup():
    assert registry.lookup("thing", "a", {"a": 1}) == 1
    with pytest.raises(ParameterError, match="thing: got 'aple'; did you mean 'apple'"):
        registry.lookup("thing", "aple", {"apple": 1}, ParameterError)


@pytest.mark.parametrize("package", [neurons, surrogates, encoders, norms, losses, models, blocks, activations], ids=lambda p: p.__name__)
def test_every_file_of_a_registry_gives_an_entry(package):
    files = {m.__name__ for m in registry.modules(package)}
    assert files == {entry.__module__ for entry in package.known.values()}
    assert all(getattr(package, name) is entry for name, entry in package.known.items())
    assert set(package.known) <= set(package.__all__)


@pytest.mark.parametrize("package", [neurons, surrogates, encoders, norms, losses, models, blocks, activations], ids=lambda p: p.__name__)
def test_every_entry_is_documented(package):
    assert all((entry.__doc__ or "").strip() for entry in package.known.values())


PAPERS = [value for value in vars(bibliography).values() if isinstance(value, Paper)]


def test_papers_have_unique_keys():
    assert len({p.key for p in PAPERS}) == len(PAPERS) > 0


@pytest.mark.parametrize("paper", PAPERS, ids=lambda p: p.key)
def test_papers_are_complete(paper):
    entry = paper.bibtex()
    assert entry.startswith(("@article{", "@inproceedings{"))
    assert entry.count("{") == entry.count("}")
    assert str(paper.year) in paper.key
    assert 1950 < paper.year < 2100
    assert all(part in entry for part in (paper.title, paper.authors, paper.venue))
    assert paper.url.startswith("https://") or not paper.url


def test_bibtex_of_a_journal_and_a_conference():
    assert bibliography.STBP.bibtex().startswith("@article{wu2018stbp,\n  title = {{Spatio-Temporal")
    assert "journal = {Frontiers in Neuroscience" in bibliography.STBP.bibtex()
    assert "booktitle = {IJCAI}" in bibliography.MLF.bibtex()
    assert "url" not in Paper("k2000", "t", "a", "v", 2000).bibtex()


def test_import_needs_only_torch_and_numpy():
    source = "import json, sys, spikeloom, spikeloom.testing; print(json.dumps(sorted({m.partition('.')[0] for m in sys.modules})))"
    environment = {**os.environ, "PYTHONPATH": str(Path(spikeloom.__file__).parents[1])}
    run = subprocess.run([sys.executable, "-c", source], capture_output=True, text=True, check=True, env=environment)
    heavy = "lightning torchmetrics sklearn scipy pyarrow PIL matplotlib rich safetensors huggingface_hub pytest hypothesis"
    assert not set(heavy.split()) & set(json.loads(run.stdout))


def test_late_parts_are_loaded_by_name_and_others_refused():
    assert spikeloom.testing.check_neuron
    with pytest.raises(AttributeError, match="module 'spikeloom' has no attribute 'traning'"):
        _ = spikeloom.traning
