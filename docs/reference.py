"""Reference pages made from the registries, and the pages that stand at the root of the repository.

MkDocs runs this as a hook; `python docs/reference.py` prints the reference.
"""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import re
import sys
from collections.abc import Callable, Iterable
from itertools import groupby
from pathlib import Path
from typing import Any

from spikeloom import activations, blocks, cli, data, encoders, losses, models, neurons, norms, plasticity, recipes, surrogates, timing
from spikeloom.convert import normalisers, passes, routes
from spikeloom.convert.passes.base import FACTS
from spikeloom.convert.routes.base import ALLOWED
from spikeloom.core.paper import Paper
from spikeloom.core.params import Choice, Count, Param
from spikeloom.data import augment
from spikeloom.train import Run, Training, experiment, options
from spikeloom.train.experiment import Experiment

ROOT = Path(__file__).parents[1]
CLAIMS = {
    "C": "read in code", "L": "from logs or an abstract", "N": "computed by us", "M": "recalled, unverified",
    "R": "reconstructed, unverified",
}  # fmt: skip


def on_files(files: Any, config: Any) -> Any:
    """MkDocs hook: add the generated pages to the site."""
    from mkdocs.structure.files import File

    for name, page in PAGES.items():
        files.append(File.generated(config, f"reference/{name}.md", content=page()))
    for name in ("ARCHITECTURE", "CONTRIBUTING", "CHANGELOG"):
        text = re.sub(r"\]\((?:docs/)?([\w/-]+\.md)\)", lambda m: f"]({m[1].lower()})", (ROOT / f"{name}.md").read_text())
        files.append(File.generated(config, f"{name.lower()}.md", content=text))
    return files


def neuron_page() -> str:
    shared = _parameters(neurons.Neuron)
    intro = f"{_prose(neurons.Neuron.__doc__)}\n\nEvery neuron has these choices; its own default may be another:\n\n{shared}"
    return _page("Neurons", intro, (_entry(cls, _neuron_facts(cls)) for cls in neurons.known.values()))


def surrogate_page() -> str:
    intro = (
        "A function of z = membrane - threshold, used in the backward pass only. Give an instance, or a name in any case: "
        '`LIF(surrogate=Rectangle(width=2.0))`, `LIF(surrogate="atan")`.'
    )
    return _page("Surrogates", intro, (_entry(cls, _parameters(cls)) for cls in surrogates.known.values()))


def encoder_page() -> str:
    words = "Reads {} images. In a recipe: `encoder={}`."
    rows = (_entry(cls, words.format(cls.domain, encoders.spelled(name))) for name, cls in encoders.known.items())
    return _page("Encoders", "`[B, ...]` to `[T, B, ...]`. `encoder=None`, or `none` in a recipe, is for input with a time axis.", rows)


def norm_page() -> str:
    intro = "Norms that know time. An ordinary `nn.BatchNorm2d` takes its statistics over time and batch, and needs nothing from here."
    return _page("Norms", intro, (_entry(cls, _signature(cls)) for cls in norms.known.values()))


def block_page() -> str:
    common = _prose(blocks.Residual.__doc__)
    return _page("Blocks", common, (_entry(cls) for cls in blocks.known.values()))


def activation_page() -> str:
    intro = "Activations of ordinary networks that are trained to become spiking ones."
    return _page("Activations", intro, (_entry(cls, _signature(cls)) for cls in activations.known.values()))


def method_page() -> str:
    intro = (
        "Published conversions as whole methods, [explained](../explanation/conversion.md). An option is replaced by a keyword of "
        "`convert`, on the command line by `key=value`; another `normaliser` or `neuron` brings its own.\n\n"
    )
    allowed = _table(("option", "allowed"), [(f"`{name}`", ", ".join(f"`{value!r}`" for value in ALLOWED[name])) for name in ALLOWED])
    meaning = _prose((routes.Route.__doc__ or "").partition("\n\n")[2])
    return _page("Conversion methods", f"{intro}{meaning}\n\n{allowed}", (_method(name) for name in routes.known))


def normaliser_page() -> str:
    intro = "How much ANN activation a spike of a layer stands for. Fields are options of a conversion: `normaliser=NAME FIELD=VALUE`."
    entries = []
    for cls in normalisers.known.values():
        fields = [(f"`{field.name}`", f"`{field.default!r}`") for field in dataclasses.fields(cls)]
        entries.append(_entry(cls, _table(("field", "default"), fields) if fields else ""))
    return _page("Normalisers", intro, entries)


def pass_page() -> str:
    intro = "Small rewritings of the graph, [in this order](../explanation/conversion.md#the-passes). What they require and provide:\n\n"
    facts = _table(("fact", "meaning"), [(f"`{name}`", text) for name, text in FACTS.items()])
    return _page("Passes", intro + facts, (_entry(cls, _pass_facts(cls)) for cls in passes.known.values()))


def loss_page() -> str:
    intro = "Functions of outputs `[T, B, classes]` and labels `[B]`. In a recipe: `loss=NAME`."
    return _page("Losses", intro, (_entry(f, _signature(f)) for f in losses.known.values()))


def timing_page() -> str:
    intro = "`spikeloom.timing`: times `[B, ...]` in, times out, infinity for no spike. [What it is about](../explanation/timing.md)."
    return _page("Spike times", intro, (_entry(thing, _signature(thing), docs="own") for thing in _public(timing)))


def plasticity_page() -> str:
    intro = "`spikeloom.plasticity`: rules and a network that learn without labels. [What it is about](../explanation/plasticity.md)."
    rules = (plasticity.pair, plasticity.triplet, plasticity.diehl_cook, plasticity.reward)
    entries = []
    for rule in rules:
        entries.append(f"## {rule.__name__.rpartition('.')[2]}\n\n{_prose(rule.__doc__)}")
        entries.append(_entry(rule.update, _signature(rule.update), 3, "own"))
    return _page("Plasticity", intro, [*entries, *(_entry(thing, _signature(thing), docs="own") for thing in _public(plasticity))])


def _public(package: Any) -> list[Any]:
    return [thing for name in package.__all__ if callable(thing := getattr(package, name))]


def model_page() -> str:
    rows = [(f"[`{name}`](#{name})", _size(function), _prose(function.__doc__).split("\n")[0]) for name, function in models.known.items()]
    intro = "Functions that return an ordinary torch module over `[T*B, ...]`; put it into `SNN(net, steps=T)`.\n\n"
    table = _table(("function", "parameters with the defaults", "what"), rows)
    entries = []
    for module, functions in groupby(models.known.values(), lambda function: function.__module__):
        entries.append(f"## {module.rpartition('.')[2]}.py\n\n{_prose(sys.modules[module].__doc__)}")
        entries += [_entry(function, _signature(function), 3, "own") for function in functions]
    return _page("Models", intro + table, entries)


def inference_page() -> str:
    public = _public(importlib.import_module("spikeloom.infer"))
    intro = "`spikeloom.infer`: a network compiled to run on a CPU. [What it is about](../explanation/inference.md)."
    return _page("Inference", intro, (_entry(thing, _signature(thing), docs="own") for thing in public))


def data_page() -> str:
    rows = []
    for card in data.known.values():
        kind = "events, " if card.recordings else ""
        sizes = f"{kind}{card.channels} x {card.side} x {card.side}", f"{card.train:,} + {card.test:,}", f"{card.validation:,}"
        rows.append((f"`{card.key}`", card.title, *sizes, card.licence, _cite(card.paper)))
    intro = "From the folder in `--data-dir` or `SPIKELOOM_DATA`, else from the Hugging Face hub; `digits` comes with scikit-learn. "
    intro += "Events come from [a folder](../howto/own-data.md#existing-sets-without-a-network); say `frames=time` or `count`.\n\n"
    table = _table(("key", "name", "image", "train + test", "of train, validation", "licence", "source"), rows)
    title = "\n\n## Augmentation\n\nIn a recipe: `augment=crop:2,flip`, in this order, on uint8 images before they are standardised. "
    title += "A size follows a colon."
    return _page("Data sets and augmentation", intro + table + title, (_entry(cls, _signature(cls), 3) for cls in augment.known.values()))


def recipe_page() -> str:
    loaded = {name: recipes.load(name) for name in recipes.known}
    rows = [(f"[`{n}`](#{n})", r.title, _cite(r.paper), f"{r.minutes:g} min, {r.machine}") for n, r in loaded.items()]
    intro = "`spikeloom train NAME` runs one, `key=value` overrides a field. Expected times are estimates.\n\n"
    table = _table(("recipe", "what", "paper", "expected"), rows)
    return _page("Recipes", intro + table, (f"## {name}\n\n{_recipe(name, run)}" for name, run in loaded.items()))


def cli_page() -> str:
    parser = cli.parser()
    commands = next(action.choices for action in parser._actions if action.choices)
    helps = {"spikeloom": parser.format_help()}
    for name, sub in commands.items():
        helps[f"spikeloom {name}"] = sub.format_help()
        deeper = next((action.choices for action in sub._actions if isinstance(action.choices, dict)), {})
        helps |= {f"spikeloom {name} {what}": kind.format_help() for what, kind in deeper.items()}
    names = ", ".join(f"`{name}`" for name in ("SPIKELOOM_DATA", "SPIKELOOM_CACHE", "SPIKELOOM_BACKEND", "CXX"))
    intro = f"A refusal is one line on stderr with exit status 2. Environment: {names}."
    return _page("Command line", intro, (f"## {name}\n\n```text\n{text.rstrip()}\n```" for name, text in helps.items()))


def _recipe(name: str, run: Run | Experiment) -> str:
    facts = [_prose(recipes.known[name].__doc__), f"Paper: {_cite(run.paper)}"]
    if run.claim:
        value = f" {run.claim.value:.2%}" if run.claim.value is not None and run.claim.tag in "CLN" else ""
        facts.append(f"The paper's claim: {run.claim.metric}{value} ({run.claim.where}; {CLAIMS[run.claim.tag]}).")
    return "\n\n".join([*facts, *(_experiment(run) if isinstance(run, Experiment) else _run(run))])


def _experiment(run: Experiment) -> list[str]:
    facts = [_prose(type(run).__doc__), f"Data `{run.data}`. Fields an override can name, with their values:"]
    return [*facts, _table(("field", "value"), [(f"`{k}`", f"`{v}`") for k, v in sorted(experiment.options(run).items())])]


def _run(run: Run) -> list[str]:
    facts = []
    if run.data.name not in data.known:
        facts.append(f"**Cannot run yet**: the data set `{run.data.name}` is not in this version.")
    if run.failure:
        facts.append(f"Expected to fail: {run.failure}")
    plain = {f.name: f.default for f in dataclasses.fields(Training)}
    fields = options(run)
    shown = {k: v for k, v in fields.items() if k not in plain or v != plain[k]}
    facts.append(f"Data `{run.data.name}`, network `{run.network.function}`. Fields an override can name, with their values:")
    facts.append(_table(("field", "value"), [(f"`{k}`", f"`{v}`") for k, v in sorted(shown.items())]))
    rest = ", ".join(f"`{k}={v}`" for k, v in sorted(fields.items()) if k not in shown)
    return [*facts, f"And, at the general default: {rest}."]


def _method(name: str) -> str:
    route = routes.load(name)
    links = f"[{route.normaliser}](normalisers.md#{route.normaliser.lower()}), [{route.neuron}](neurons.md#{route.neuron.lower()})."
    values = _table(("option", "value"), [(f"`{key}`", f"`{value!r}`") for key, value in sorted(route.options().items())])
    return "\n\n".join([f"## {name}", _prose(routes.known[name].__doc__), links, values, f"Source: {_cite(route.paper)}"])


def _pass_facts(cls: Any) -> str:
    needs, gives = (", ".join(f"`{fact}`" for fact in sorted(facts)) or "nothing" for facts in (cls.requires, cls.provides))
    return f"In the ledger: `{cls.__new__(cls).name}`. Requires {needs}; provides {gives}; the network's function is {cls.function}."


def _neuron_facts(cls: Any) -> str:
    facts = [_parameters(cls), f"Default surrogate: `{cls.default_surrogate}`."]
    facts += [f"With {_options(own)} it is {other} with {_options(theirs)}." for own, other, theirs in cls.reduces_to]
    trace = cls.hand_trace
    if trace:
        given = _options(trace["options"]) or "the defaults"
        facts.append(f"By hand, with {given}: input `{trace['x']}` gives spikes `{trace['spikes']}`.")
    return "\n\n".join(facts)


def _size(function: Callable[..., Any]) -> str:
    if any(p.default is p.empty and p.kind is p.POSITIONAL_OR_KEYWORD for p in inspect.signature(function).parameters.values()):
        return "as asked for"
    return f"{sum(p.numel() for p in function().parameters()):,}"


def _parameters(cls: Any) -> str:
    """Table of what a class declares; of a neuron, what it does not share with all neurons."""
    shared = neurons.Neuron.choices if cls is not neurons.Neuron else {}
    rows = []
    for name, rule in {**cls.params, **getattr(cls, "choices", {}), **getattr(cls, "counts", {})}.items():
        if rule is shared.get(name):
            continue
        default = f'"{rule.default}"' if isinstance(rule, Choice) else f"{rule.default:g}"
        if isinstance(rule, Param):
            allowed = rule.interval
        else:
            allowed = f"{rule.low} or more" if isinstance(rule, Count) else ", ".join(f'"{a}"' for a in rule.allowed)
        unit = f" ({rule.unit})" if getattr(rule, "unit", "") else ""
        meaning = rule.doc or getattr(shared.get(name), "doc", "")
        rows.append((f"`{name}`", f"`{default}`", f"`{allowed}`", meaning + unit))
    return _table(("parameter", "default", "allowed", "meaning"), rows) if rows else ""


def _entry(thing: Any, facts: str = "", level: int = 2, docs: str = "file") -> str:
    """Heading, docstring of the `"file"` too or only its `"own"`, facts, paper."""
    module = sys.modules[thing.__module__]
    texts = [_prose(module.__doc__)] if docs == "file" else []
    texts += [_prose(thing.__doc__), facts]
    paper = getattr(thing, "paper", None) or getattr(module, "paper", None)
    if isinstance(paper, Paper):
        texts.append(f"Source: {_cite(paper)}")
    return f"{'#' * level} {thing.__name__}\n\n" + "\n\n".join(text for text in texts if text)


def _prose(docstring: str | None) -> str:
    """A docstring as Markdown: indented `name: text` lines become a list, other indented lines stay a block."""
    text = inspect.cleandoc(docstring or "")
    text = re.sub(r"(?m)^ {4}([A-Za-z][\w, ]*): (?=\S)", r"- \1: ", text)
    return re.sub(r"(?m)^(?![ -])(.+)\n(?= {4}|- )", r"\1\n\n", text)


def _signature(thing: Callable[..., Any]) -> str:
    text = re.sub(r"(: |-> )'([^']*)'", r"\1\2", str(inspect.signature(thing)))  # annotations that are strings
    text = re.sub(r"torch\.nn\.modules\.\w+\.", "nn.", text).removesuffix(" -> None")
    return f"```python\n{thing.__name__}{re.sub(r'(?:torch|collections[.]abc|typing)[.]', '', text)}\n```"


def _options(values: dict[str, Any]) -> str:
    return ", ".join(f"`{name}={value!r}`" for name, value in values.items())


def _cite(paper: Paper) -> str:
    who = paper.authors.split(",")[0] + (" et al." if " and " in paper.authors else "")
    label = f"{who}, {paper.venue.split(' (')[0]} {paper.year}"
    return f"[{label}]({paper.url})" if paper.url else label


def _table(heads: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    lines = [list(heads)]
    lines += [["---"] * len(lines[0]), *([str(cell).replace("|", "\\|").replace("\n", " ") for cell in row] for row in rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _page(title: str, intro: str, entries: Iterable[str]) -> str:
    return "\n\n".join([f"# {title}", intro, *entries]) + "\n"


PAGES: dict[str, Callable[[], str]] = {
    "neurons": neuron_page, "surrogates": surrogate_page, "encoders": encoder_page, "norms": norm_page, "blocks": block_page,
    "activations": activation_page, "methods": method_page, "normalisers": normaliser_page, "passes": pass_page, "losses": loss_page,
    "timing": timing_page, "plasticity": plasticity_page, "models": model_page, "inference": inference_page,
    "data": data_page, "recipes": recipe_page, "cli": cli_page,
}  # fmt: skip

if __name__ == "__main__":
    print("\n".join(page() for page in PAGES.values()))
