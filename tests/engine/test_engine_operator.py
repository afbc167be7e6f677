"""Neurons in graphs: torch.compile, torch.export, make_fx and fake tensors hold the kernel as an operator."""

import os
import subprocess
import sys
from itertools import cycle
from pathlib import Path

import pytest
import torch
from against_reference import differentiated, reference
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.fx.experimental.proxy_tensor import make_fx

from spikeloom import SNN, Neuron, engine, neurons, surrogates
from spikeloom.core.errors import SpikeloomError
from spikeloom.core.params import Param
from spikeloom.engine import cache, dispatch, operator
from spikeloom.nn.norms import TdBN

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*autograd.function.Function:DeprecationWarning"),  # dynamo's own
    pytest.mark.filterwarnings("ignore:.*LeafSpec:FutureWarning"),  # export's own
    pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf:UserWarning"),  # theirs, too
    pytest.mark.usefixtures("quick_compiler"),
]
STEPS = 3
OPTIONS = [
    {},
    {"reset": "subtract", "reset_gradient": "through", "fires": "at_or_above", "surrogate": "atan"},
    {"reset_gradient": "detached", "fires": "smooth", "surrogate": "sigmoid"},
]


@pytest.fixture
def auto(monkeypatch):
    monkeypatch.setenv("SPIKELOOM_BACKEND", "auto")
    monkeypatch.setattr(dispatch, "_warned", set())


def compiled(function, *, into=None, backend="eager"):
    """fullgraph, from an empty cache; each graph's operators are added to `into`."""

    def kept(graph, inputs):
        into.append(operators(graph))
        return graph

    torch._dynamo.reset()
    return torch.compile(function, backend=backend if into is None else kept, fullgraph=True)


def operators(graph):
    return sum("spikeloom.scan" in str(node.target) for node in graph.graph.nodes)


def learnable(name, **options):
    return neurons.known[name](learnable=tuple(neurons.known[name].params), **options)


def network():
    return nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1), TdBN(4), neurons.LIF(decay=[0.1, 0.2, 0.3, 0.4]), nn.MaxPool2d(2), nn.Conv2d(4, 4, 3),
        neurons.PLIF(threshold=0.1), nn.Flatten(), nn.Linear(16, 10), neurons.MLF(threshold=0.05),
    )  # fmt: skip


def trained(module, x):
    """Output and gradients of one training step."""
    module.zero_grad()
    x = x.clone().requires_grad_()
    y = module(x)
    (y * torch.cos(torch.arange(y.numel()).view(y.shape))).sum().backward()
    return [y.detach(), x.grad, *(p.grad for p in module.parameters())]


def assert_equal(ours, theirs):
    for a, b in zip(ours, theirs, strict=True):
        assert a is b is None or torch.equal(a, b)


def combinations():
    """Every neuron in both precisions, with the option sets in turn."""
    turn = cycle(OPTIONS)
    return [(name, next(turn), dtype) for name in neurons.known for dtype in (torch.float32, torch.float64)]


@pytest.mark.parametrize(("name", "options", "dtype"), combinations())
@pytest.mark.parametrize("differentiated", [True, False])
def test_opcheck(name, options, dtype, differentiated):
    """With gradients: one value per channel and an initial state; without: one number and none."""
    neuron = learnable(name, **options).to(dtype)
    x = torch.randn(STEPS * 2, 3, 4, dtype=dtype).requires_grad_(differentiated)
    values = [v.detach() for v in neuron.values().values()]
    values = [(v.expand(3, 1).clone() if differentiated and not k else v).requires_grad_(differentiated) for k, v in enumerate(values)]
    first = [torch.randn(2, 3, 4, dtype=dtype, requires_grad=True) for _ in neuron.states] if differentiated else []
    text = operator.Language.text(operator.Language.facts(neuron), tuple(neuron.values()))
    checked = torch.library.opcheck(operator.scan, (x, first, values, STEPS, len(neuron.states), text))
    if differentiated:
        needs = [True, *[False] * len(first), *[True] * len(values)]
        with torch.no_grad():
            call = (x, first, values, torch.randn_like(x), [], STEPS, text, needs)
            checked |= torch.library.opcheck(operator.scan_backward, call, test_utils=("test_schema", "test_faketensor"))
    assert set(checked.values()) == {"SUCCESS"}


@pytest.mark.parametrize("name", neurons.known)
def test_a_compiled_neuron_trains_as_the_fused_one(name):
    neuron = learnable(name, surrogate="atan")
    neuron.steps = STEPS
    ours = compiled(neuron, backend="aot_eager")
    for batch in (5, 2):
        x = torch.randn(STEPS * batch, 4, 6)
        assert_equal(trained(ours, x), trained(neuron, x))


def test_a_dynamic_batch_is_one_graph_more():
    neuron, graphs = neurons.LIF(), []
    neuron.steps = STEPS
    ours = compiled(neuron, into=graphs)
    for batch in (5, 6, 7, 8):
        x = torch.randn(STEPS * batch, 4)
        assert torch.equal(ours(x), neuron(x))
    assert graphs == [1, 1]


def test_a_compiled_network_trains_as_the_fused_one():
    # a compiled network keeps norms apart, and reads a still image at every step
    snn = SNN(network(), steps=STEPS, encoder=None, fusion="none")
    weights = {k: v.clone() for k, v in snn.state_dict().items()}
    ours = compiled(snn, backend="aot_eager")
    for batch in (2, 4):
        x = torch.randn(STEPS, batch, 1, 8, 8)
        snn.load_state_dict(weights)  # both start from the same running statistics
        theirs = trained(snn, x)
        snn.load_state_dict(weights)
        assert_equal(trained(ours, x), theirs)
        assert theirs[0].any() and theirs[1].any()


def test_states_and_their_gradients():
    neuron = learnable("MLF")

    def run(neuron, x, steps, state):
        return neuron.run(x.unflatten(0, (steps, -1)), state)

    state = tuple(torch.randn(4, 6) for _ in neuron.states)
    ours = compiled(run, backend="aot_eager")
    x = torch.randn(STEPS * 4, 6)
    a, b = (differentiated(neuron, x, STEPS, state, scan) for scan in (ours, run))
    assert_equal([a.spikes, *a.last, a.x, *a.first, *a.values.values()], [b.spikes, *b.last, b.x, *b.first, *b.values.values()])
    for part in (lambda s, v: s.sum(), lambda s, v: v[1].sin().sum()):  # a part of the outputs is not used
        leaf = x.clone().requires_grad_()
        assert_equal(*(torch.autograd.grad(part(*scan(neuron, leaf, STEPS, state)), [leaf]) for scan in (ours, run)))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision(dtype):
    neuron, graphs, x = neurons.MLF(), [], torch.randn(STEPS, 2, 5).to(dtype)
    assert torch.equal(compiled(neuron, into=graphs)(x), neuron(x)) and graphs == [1]


@pytest.mark.parametrize(
    "x",
    [torch.randn(6, 4, 3, 2).to(memory_format=torch.channels_last), torch.randn(6, 4, 2, 3).mT, torch.randn(6, 0, 3)],
    ids=["channels_last", "transposed", "empty"],
)
def test_layouts(x, auto):
    neuron, graphs = neurons.LIF(learnable="decay"), []
    neuron.steps = STEPS
    ours, theirs = compiled(neuron, into=graphs)(x), reference(neuron, x, STEPS)[0]
    assert torch.equal(ours, theirs) and graphs == [1]
    ours = compiled(neuron, backend="aot_eager")
    assert_equal(trained(ours, x), trained(neuron, x))


def test_changes_after_compilation_are_seen():
    neuron, x = neurons.LIF(surrogate="atan"), torch.randn(STEPS, 2, 50).requires_grad_()
    ours = compiled(neuron)
    for change in (lambda: None, lambda: setattr(neuron, "reset", "subtract"), lambda: setattr(neuron, "surrogate", surrogates.Triangle()),
                   lambda: setattr(neuron.surrogate, "a", 0.5), lambda: setattr(neuron.surrogate, "a", 0.7),
                   lambda: neuron.threshold.fill_(0.75)):  # fmt: skip
        change()
        results = [(y, *torch.autograd.grad(y.sum(), x)) for y in (ours(x), neuron(x))]
        assert_equal(*results)


def test_gradients_of_the_surrogate_depend_on_its_parameters():
    """The text holds them: two neurons that differ in a width alone have different gradients in one graph."""
    narrow, wide = (neurons.LIF(surrogate=surrogates.Rectangle(width=w)) for w in (0.5, 1.5))
    x = torch.tensor([[[0.6], [1.1]]]).requires_grad_()  # z = 0.1 and 0.6: inside both windows, inside the wide one
    for neuron, expected in ((narrow, [2, 0]), (wide, [2 / 3, 2 / 3])):
        (grad,) = torch.autograd.grad(compiled(neuron, backend="aot_eager")(x).sum(), x)
        assert torch.allclose(grad.flatten(), torch.tensor(expected, dtype=torch.float32))


class Own(Neuron):
    """A neuron of a user's, with a number of its own."""

    gain = Param(0.5)
    keep = 0.25

    def step(self, x, state, p):
        u = self.keep * state[0] + p.gain * x
        s = self.fire(u, p.gain)
        return s, (self.reset_membrane(u, s, p.gain),)


def test_a_users_neuron():
    neuron, graphs, x = Own(), [], torch.randn(STEPS, 2, 9)
    ours = compiled(neuron, into=graphs)
    assert torch.equal(ours(x), neuron(x))
    neuron.keep = 0.75
    assert torch.equal(ours(x), neuron(x)) and graphs == [1, 1]


def test_a_class_defined_again_under_the_same_name():
    x, outputs = torch.randn(STEPS, 2, 50), []
    for factor in (1, 3):

        class Twice(Own):
            scale = factor

            def step(self, x, state, p):
                return super().step(x * type(self).scale, state, p)

        outputs.append(compiled(Twice())(x))
        assert torch.equal(outputs[-1], Twice()(x))
    assert not torch.equal(*outputs)


def test_mixed_precision_traces_the_reference(auto):
    neuron, graphs, x = neurons.LIF(), [], torch.randn(STEPS, 2, 4, dtype=torch.float64)
    with pytest.warns(engine.SlowBackend, match=r"a value is torch\.float32 on cpu; with x in torch\.float64") as seen:
        y = compiled(neuron, into=graphs)(x)
        assert torch.equal(compiled(neuron)(x), y)
    assert graphs == [0] and len(seen) == 1 and torch.equal(y, neuron(x))


class Odd(Neuron):
    def step(self, x, state, p):
        return torch.special.bessel_j0(x), state


def test_an_unknown_operation_traces_the_reference(auto):
    graphs, x = [], torch.randn(STEPS, 2, 4)
    with pytest.warns(engine.SlowBackend, match=r"aten\.special_bessel_j0\.default has no scalar form"):
        assert torch.equal(compiled(Odd(), into=graphs)(x), torch.special.bessel_j0(x))
    assert graphs == [0]


class Undeclared(Own):
    def __init__(self, **values):
        super().__init__(**values)
        self.factor = 2.0

    def step(self, x, state, p):
        return super().step(x * self.factor, state, p)


def test_an_attribute_that_no_text_can_hold_traces_the_reference(auto):
    x = torch.randn(STEPS, 2, 4)
    keeps = Own()
    keeps.keep = torch.tensor(0.5)
    for neuron, reason in (
        (keeps, r"Own\.keep is a Tensor, and a graph holds only numbers and texts of a neuron"),
        (Undeclared(), r"no attribute 'factor'.*in a graph step may read what is declared \(Param, Choice, Count\) and what has a default"),
    ):
        graphs = []
        with pytest.warns(engine.SlowBackend, match=reason):
            y = compiled(neuron, into=graphs)(x)
        assert graphs == [0] and torch.equal(y, reference(neuron, x.flatten(0, 1), STEPS)[0].view(x.shape))


def test_no_compiler_traces_the_reference(auto, monkeypatch, tmp_path, forgetful):
    operator._kernel.cache_clear()
    monkeypatch.setenv("CXX", str(tmp_path / "none"))
    graphs, x = [], torch.randn(STEPS, 2, 4)
    with pytest.warns(engine.SlowBackend, match=r"no C\+\+ compiler"):
        y = compiled(neurons.LIF(), into=graphs)(x)
    assert graphs == [0] and torch.equal(y, reference(neurons.LIF(), x.flatten(0, 1), STEPS)[0].view(x.shape))


def test_what_was_asked_for_is_what_is_traced(auto, monkeypatch):
    neuron, graphs, x = neurons.LIF(), [], torch.randn(STEPS, 2, 4)
    monkeypatch.setenv("SPIKELOOM_BACKEND", "reference")
    assert torch.equal(compiled(neuron, into=graphs)(x), neuron(x)) and graphs == [0]
    monkeypatch.setenv("SPIKELOOM_BACKEND", "cpp")
    torch._dynamo.reset()
    with pytest.raises(engine.CannotFuse, match=r"SPIKELOOM_BACKEND=cpp: LIF: a value is torch\.float32"):
        make_fx(neuron)(x.double())


def test_transforms_inside_a_graph_trace_the_reference(auto):
    neuron, graphs, x = neurons.LIF(surrogate="atan"), [], torch.randn(STEPS, 2, 4)

    def gradient(x):
        return torch.func.grad(lambda x: neuron(x).sum())(x)

    assert torch.equal(compiled(gradient, into=graphs)(x), gradient(x)) and graphs == [0]


@pytest.mark.parametrize("tracing_mode", ["real", "symbolic"])
def test_make_fx(tracing_mode):
    snn, x = SNN(nn.Sequential(nn.Linear(4, 5), neurons.PLIF()), steps=STEPS), torch.randn(2, 4)
    graph = make_fx(snn, tracing_mode=tracing_mode, _allow_non_fake_inputs=True)(x)
    assert operators(graph) == 1 and torch.equal(graph(x), snn(x))


def test_fake_tensors():
    """Also a kernel that nobody has made yet, and outside the mode that made the tensor."""
    operator._kernel.cache_clear()
    neuron = learnable("PLIF")
    with FakeTensorMode(allow_non_fake_inputs=True) as mode:
        x = mode.from_tensor(torch.randn(STEPS, 2, 4)).requires_grad_()
        y = neuron(x)
        y.sum().backward()
    assert x.grad.shape == x.shape == y.shape == neuron(x).shape
    assert neuron(x.to("meta")).device.type == "meta"


def test_a_stream_of_a_compiled_network():
    snn = SNN(network(), steps=STEPS).eval()
    x = torch.randn(2, 1, 8, 8)
    y, encoded = snn(x), snn.encoder(x, STEPS)
    torch._dynamo.reset()
    snn.net[8].forward = torch.compile(snn.net[8].forward, backend="eager")
    assert torch.equal(snn(x), y)
    stream = snn.stream()
    assert torch.equal(torch.stack([stream(each) for each in encoded]), y) and y.any()
    assert torch.equal(snn(x), y)


RUNS = """
import sys, torch, spikeloom
from spikeloom.engine import cache
cache.FLAGS = eval(sys.argv[3])
graph = torch.export.load(sys.argv[1]).module()
x, y = torch.load(sys.argv[2])
assert torch.equal(graph(x), y) and y.any()
"""


def test_an_exported_network_runs_in_another_process(tmp_path, cache_folder):
    snn, batch = SNN(network(), steps=STEPS).eval(), torch.export.Dim("batch")
    program = torch.export.export(snn, (torch.randn(3, 1, 8, 8),), dynamic_shapes=({0: batch},))
    assert operators(program) == 3
    x = torch.randn(5, 1, 8, 8)
    assert torch.equal(program.module()(x), snn(x))
    torch.export.save(program, tmp_path / "network.pt2")
    torch.save((x, snn(x)), tmp_path / "x.pt")
    environment = {**os.environ, "PYTHONPATH": str(Path(engine.__file__).parents[2]), "SPIKELOOM_CACHE": str(cache_folder)}
    command = [sys.executable, "-c", RUNS, str(tmp_path / "network.pt2"), str(tmp_path / "x.pt"), repr(cache.FLAGS)]
    answer = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert answer.returncode == 0, answer.stderr


def test_a_text_finds_the_equations_again():
    neuron = Own(surrogate=surrogates.Dspike(temperature=7.3), reset="subtract")
    again, names = operator.Language.equations(operator.Language.text(operator.Language.facts(neuron), ("gain",)))
    assert type(again) is Own and names == ("gain",)
    assert (again.keep, again.reset, again.surrogate.temperature) == (0.25, "subtract", 7.3)


def test_a_class_that_was_not_imported_is_named():
    text = operator.Language.text(operator.Language.facts(neurons.LIF()), ("decay", "threshold"))
    x, values = torch.randn(6, 4), [torch.tensor(0.2), torch.tensor(0.5)]
    with pytest.raises(SpikeloomError, match=r"'somewhere:LIF'; must be a class of this process; import the module that defines it"):
        torch.ops.spikeloom.scan(x, [], values, STEPS, 0, text.replace("spikeloom.neurons.lif", "somewhere"))


def test_a_name_that_two_classes_have_is_refused():
    def make():
        class Alike(Own):
            pass

        return Alike

    classes = make(), make()
    name = f"{__name__}:{classes[0].__qualname__}"
    text = operator.Language.text(operator.Language.facts(neurons.LIF()), ()).replace("spikeloom.neurons.lif:LIF", name)
    with pytest.raises(SpikeloomError, match=r"Alike'; must be the name of one class \(it is that of 2\)"):
        operator.Language.equations(text)


def test_an_encoder_refuses_inside_a_graph():
    snn = SNN(nn.Sequential(neurons.LIF()), steps=STEPS, encoder="latency")
    ours, x = compiled(snn), torch.rand(2, 4)
    assert torch.equal(ours(x), snn(x))
    with pytest.raises(RuntimeError, match=r"Latency input: .* must be in \[0, 1\]; do not standardise the images"):
        ours(x - 1)
