"""The code in README and documentation runs, and the generated reference names everything that is registered."""

import importlib.util
import re
from pathlib import Path

import pytest
import torch

import spikeloom
from spikeloom import activations, blocks, data, encoders, losses, models, neurons, norms, recipes, surrogates
from spikeloom.convert import normalisers, passes, routes

ROOT = Path(__file__).parents[1]


def code(page: Path) -> list[str]:
    """The page's Python blocks, snippets included."""
    text = re.sub(r'--8<-- "(.+)"', lambda match: (ROOT / match[1]).read_text(), page.read_text())
    return re.findall(r"^```python\n(.*?)^```", text, re.DOTALL | re.MULTILINE)


PAGES = [page for page in (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))) if code(page)]


def run(page: Path) -> dict[str, object]:
    """Names after all of the page's blocks, run in order as one script."""
    names: dict[str, object] = {"__name__": "page"}
    for block in code(page):
        exec(compile(block, str(page), "exec"), names)
    return names


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SPIKELOOM_CACHE", str(tmp_path / "cache"))


@pytest.mark.parametrize("page", PAGES[1:], ids=lambda page: str(page.relative_to(ROOT / "docs")))
def test_the_code_on_every_page_runs_and_leaves_no_undocumented_record(page):
    before = dict(data.known)
    try:
        record = run(page).get("record", {})
    finally:
        data.known.clear()
        data.known.update(before)
    documented = (ROOT / "docs" / "record.md").read_text()
    assert not [key for key in record if f"`{key}`" not in documented]


def test_the_readme_example_learns():
    assert run(PAGES[0])["accuracy"] > 0.8  # one class in ten is 0.1


def test_the_readme_quotes_the_refusal_word_for_word():
    with pytest.raises(ValueError) as refused:
        neurons.known["LIF"](decay=1.7)
    assert str(refused.value) in (ROOT / "README.md").read_text()


def test_the_guide_to_conversion_quotes_the_refusal_word_for_word():
    net = torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.GELU(), torch.nn.Linear(4, 2))
    with pytest.raises(spikeloom.ConversionError) as refused:
        spikeloom.convert(net, "rueckauer2017", torch.rand(2, 4), steps=4)
    assert str(refused.value) in (ROOT / "docs" / "howto" / "convert.md").read_text()


@pytest.mark.parametrize("page", ["README.md", "docs/howto/convert.md", "docs/explanation/conversion.md"])
def test_every_conversion_method_is_named_where_one_chooses(page):
    text = (ROOT / page).read_text()
    assert [name for name in routes.known if f"`{name}`" not in text] == []


def test_the_explanation_of_conversion_names_the_passes_in_the_order_of_the_ledger():
    section = (ROOT / "docs" / "explanation" / "conversion.md").read_text().partition("\n## The passes\n")[2].partition("\n## ")[0]
    named = re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE)
    assert sorted(named) == sorted(cls.__new__(cls).name for cls in passes.known.values())
    layers = torch.nn.Conv2d(1, 2, 3), torch.nn.ReLU(), torch.nn.MaxPool2d(2), torch.nn.Flatten(), torch.nn.Linear(18, 2)
    for method, options in (("cao2015", {"leaky": "dropped"}), ("calibration", {})):
        ledger = spikeloom.convert(torch.nn.Sequential(*layers), method, torch.rand(2, 1, 8, 8), steps=2, **options).ledger
        assert [row["pass"] for row in ledger] == [name for name in named if name in {row["pass"] for row in ledger}]


@pytest.fixture(scope="module")
def reference() -> dict[str, str]:
    spec = importlib.util.spec_from_file_location("reference", ROOT / "docs" / "reference.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return {name: page() for name, page in module.PAGES.items()}


@pytest.mark.parametrize(
    ("page", "registry"),
    [
        ("neurons", neurons.known), ("surrogates", surrogates.known), ("encoders", encoders.known), ("norms", norms.known),
        ("blocks", blocks.known), ("activations", activations.known), ("losses", losses.known),
        ("methods", routes.known), ("normalisers", normalisers.known), ("passes", passes.known),
        ("models", models.known), ("recipes", recipes.known),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)  # fmt: skip
def test_the_reference_has_a_heading_for_every_entry(reference, page, registry):
    headings = re.findall(r"^#{2,3} (\S+)$", reference[page], re.MULTILINE)
    assert [name for name in headings if not name.endswith(".py")] == list(registry)


def test_the_reference_lists_every_data_set_and_command(reference):
    assert set(re.findall(r"^\| `(\w+)` \|", reference["data"], re.MULTILINE)) == set(data.known)
    assert {"train", "convert", "compare", "demo"} <= set(re.findall(r"^## spikeloom (\w+)$", reference["cli"], re.MULTILINE))
