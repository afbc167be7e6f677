"""The code in README and documentation runs, and the generated reference names everything that is registered."""

import importlib.util
import re
from pathlib import Path

import pytest

from spikeloom import activations, blocks, data, encoders, losses, models, neurons, norms, recipes, surrogates

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
        ("blocks", blocks.known), ("activations", activations.known), ("losses", losses.known), ("models", models.known),
        ("recipes", recipes.known),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)  # fmt: skip
def test_the_reference_has_a_heading_for_every_entry(reference, page, registry):
    headings = re.findall(r"^#{2,3} (\S+)$", reference[page], re.MULTILINE)
    assert [name for name in headings if not name.endswith(".py")] == list(registry)


def test_the_reference_lists_every_data_set_and_command(reference):
    assert set(re.findall(r"^\| `(\w+)` \|", reference["data"], re.MULTILINE)) == set(data.known)
    assert {"train", "compare", "demo"} <= set(re.findall(r"^## spikeloom (\w+)$", reference["cli"], re.MULTILINE))
