"""What can be fused, how operations print, and what is refused."""

import re
from pathlib import Path

import pytest
import torch
from against_reference import fused, reference

from spikeloom import engine, neurons
from spikeloom.core.params import Param
from spikeloom.engine import cpp, trace
from spikeloom.neurons import Neuron

EDGES = [0.0, 1.0, 0.5, 1.5, 2.5, 1e-30, 1e-40, 3e38, 88.5, 103.0, 0.6249, 0.626, float("inf"), float("nan")]
EDGES += [-edge for edge in EDGES]

EXACT = {
    "add": lambda x, p: x + p,
    "sub": lambda x, p: p - x,
    "rsub": lambda x, p: 1 - x,
    "mul": lambda x, p: x * p,
    "div": lambda x, p: x / p,
    "reciprocal": lambda x, p: 2 / x,
    "neg": lambda x, p: -x,
    "abs": lambda x, p: x.abs(),
    "sign": lambda x, p: x.sign(),
    "relu": lambda x, p: x.relu(),
    "step": lambda x, p: torch.relu(torch.sign(x)),
    "lt": lambda x, p: (x < p).to(x.dtype),
    "le": lambda x, p: (x <= p).to(x.dtype),
    "gt": lambda x, p: (x > p) * p,
    "ge": lambda x, p: (x >= 1).to(x.dtype),
    "eq": lambda x, p: (x == p).to(x.dtype),
    "ne": lambda x, p: (x != p).to(x.dtype),
    "where": lambda x, p: torch.where(x > 0, x, p),
    "masked_fill": lambda x, p: x.masked_fill(x > p, 0.25),
    "logic": lambda x, p: (((x > 0) & (x < p)) | ~(x > -1)).to(x.dtype),
    "minimum": lambda x, p: torch.minimum(x, p),
    "maximum": lambda x, p: torch.maximum(p, x),
    "clamp": lambda x, p: x.clamp(-0.5, 0.75),
    "clamp_min": lambda x, p: x.clamp(min=-0.5),
    "clamp_max": lambda x, p: x.clamp_max(0.75),
    "square": lambda x, p: x**2,
    "cube": lambda x, p: x**3,
    "constants": lambda x, p: torch.zeros_like(x) + torch.ones_like(x) * 3 + torch.full_like(x, 0.1),
    "floor": lambda x, p: x.floor(),
    "ceil": lambda x, p: x.ceil(),
    "trunc": lambda x, p: x.trunc(),
    "round": lambda x, p: x.round(),
    "detach": lambda x, p: x.detach().clone(),
    "tenth": lambda x, p: x * 0.1 + 1 / 3,
}
CLOSE = {
    "exp": torch.exp, "tanh": torch.tanh, "sigmoid": torch.sigmoid, "atan": torch.atan, "erf": torch.erf, "log": torch.log,
    "sin": lambda x: torch.sin(x.clamp(-10, 10)), "cos": lambda x: torch.cos(x.clamp(-10, 10)), "sqrt": torch.sqrt, "rsqrt": torch.rsqrt,
}  # fmt: skip


class Table(Neuron):
    """One state per operation: the state after the step is the operation of the input."""

    gain = Param(0.75)
    operations: tuple = ()

    @property
    def states(self):
        return tuple(f"s{k}" for k in range(len(self.operations)))

    def step(self, x, state, p):
        return x, tuple(op(x, p.gain) for op in self.operations)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_exact_operations_equal_torchs(dtype):
    neuron = Table().to(dtype)
    neuron.operations = tuple(EXACT.values())
    x = torch.cat([torch.tensor(EDGES, dtype=dtype), torch.randn(100, dtype=dtype)]).view(1, -1)
    ours, theirs = fused(neuron, x, 1)[1], reference(neuron, x, 1)[1]
    for name, a, b in zip(EXACT, ours, theirs, strict=True):
        assert torch.equal(a.isnan(), b.isnan()) and torch.equal(a.nan_to_num(7), b.nan_to_num(7)), name


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 4e-7), (torch.float64, 1e-15)])
def test_transcendental_operations(dtype, tolerance):
    """Against float64 torch, over the whole range; edges, infinities and NaN included."""
    neuron = Table().to(dtype)
    neuron.operations = tuple(lambda x, p, op=op: op(x) for op in CLOSE.values())
    x = torch.cat([torch.tensor(EDGES).to(dtype), *(torch.linspace(-n, n, 20001, dtype=dtype) for n in (2, 110))])
    ours = fused(neuron, x.view(1, -1), 1)[1]
    for (name, op), a in zip(CLOSE.items(), ours, strict=True):
        near = torch.isclose(a[0], op(x.double()).to(dtype), rtol=tolerance, atol=3e-45 if name == "exp" else 1e-15, equal_nan=True)
        assert near.all(), (name, x[~near][:5])


class Adaptive(Neuron):
    """Two states, a threshold that rises with each spike, and an initial membrane that is not zero."""

    decay = Param(0.8)
    rise = Param(0.3)

    @property
    def states(self):
        return ("v", "a")

    def initial(self, x):
        return torch.full_like(x, 0.2), torch.zeros_like(x)

    def step(self, x, state, p):
        v, a = state
        u = p.decay * v + torch.where(x > 0, x, 0.5 * x)
        s = self.fire(u, 0.5 + a.clamp(0, 2))
        return s, (self.reset_membrane(u, s, p.rise), p.decay * a + p.rise * s)


class Memoryless(Neuron):
    states = ()

    def step(self, x, state, p):
        return self.fire(x, 0.5), ()


@pytest.mark.parametrize("cls", [Adaptive, Memoryless])
def test_a_users_neuron_is_fused_like_ours(cls, quick_compiler):
    neuron = cls(surrogate="triangle", learnable=tuple(cls.params)).double()
    x = torch.randn(6, 4, 30, dtype=torch.float64)
    results = []
    for call in (neuron.run, lambda x: (reference(neuron, x.flatten(0, 1), 6)[0].view(x.shape),)):
        neuron.zero_grad()
        leaf = x.clone().requires_grad_()
        y = call(leaf)[0]
        (y * torch.cos(x)).sum().backward()
        results.append((y, leaf.grad, [p.grad for p in neuron.parameters()]))
    assert torch.equal(results[0][0], results[1][0]) and 0 < results[0][0].mean() < 1
    torch.testing.assert_close(results[0][1:], results[1][1:], rtol=1e-12, atol=1e-13)


def refused(step, match, monkeypatch, **attributes):
    class Odd(Neuron):
        def step(self, x, state, p):
            return step(self, x, state)

    neuron = Odd()
    vars(neuron).update(attributes)
    with pytest.raises(engine.CannotFuse, match=match):
        neuron(torch.randn(3, 2, 2))
    monkeypatch.setenv("SPIKELOOM_BACKEND", "auto")
    with pytest.warns(engine.SlowBackend, match=match):
        assert neuron(torch.randn(3, 2, 2)).shape == (3, 2, 2)
    assert engine.explain(neuron)[0] == "reference"


def test_unknown_operation(monkeypatch):
    match = r"aten\.special_bessel_j0\.default has no scalar form; the reference loop runs"
    refused(lambda n, x, s: (torch.special.bessel_j0(x), s), match, monkeypatch)


def test_known_operation_with_an_option_it_does_not_print(monkeypatch):
    refused(lambda n, x, s: (torch.add(x, s[0], alpha=2), s), r"aten\.add\.Tensor has no scalar form", monkeypatch)


def test_a_dtype_other_than_the_computed(monkeypatch):
    match = r"aten\._to_copy\.default gives torch\.float64 among torch\.float32 scalars"
    refused(lambda n, x, s: (x.double().to(x.dtype), s), match, monkeypatch)


def test_a_step_that_branches_on_data(monkeypatch):
    match = r"aten\._local_scalar_dense\.default looks at a number while the step is traced; the reference loop runs"
    refused(lambda n, x, s: (x if x.mean() > 0 else -x, s), match, monkeypatch)


def test_a_step_that_writes_into_what_it_is_given(monkeypatch):
    refused(lambda n, x, s: (torch.add(x, 1.0, out=torch.zeros_like(x)), s), r"aten\.add\.out writes into a tensor", monkeypatch)


def test_a_tensor_that_is_not_a_value(monkeypatch):
    refused(lambda n, x, s: (x * n.table, s), r"not among its values; return it from `values\(\)`", monkeypatch, table=torch.tensor(2.0))


def test_a_step_that_makes_more_of_one_neuron(monkeypatch):
    refused(lambda n, x, s: (torch.stack([x, x]).sum(0), s), r"makes a tensor of shape \[2\] of one neuron", monkeypatch)


def test_the_engine_names_no_neuron():
    words = "|".join(neurons.known)
    for path in Path(engine.__file__).parent.iterdir():
        if path.is_file():
            assert not re.search(rf"\b({words})\b", path.read_text()), path


def test_a_new_threshold_does_not_recompile():
    x = torch.randn(3, 40)
    sources = set()
    for threshold in (0.5, 0.7):
        neuron = neurons.LIF(threshold=threshold)
        graph = trace.step_graph(neuron, tuple(neuron.values()), torch.float32)
        sources.add(cpp.forward_source(graph, 1, (False, False), torch.float32))
        assert torch.equal(fused(neuron, x, 3)[0], reference(neuron, x, 3)[0])
    assert len(sources) == 1


def test_what_needs_no_gradient_is_not_computed():
    neuron = neurons.LIF()
    names = tuple(neuron.values())
    graphs = [make(neuron, names, torch.float32) for make in (trace.step_graph, trace.pull_graph)]
    none = cpp.backward_source(*graphs, 1, (False, False), torch.float32, (True, False, False))
    both = cpp.backward_source(*graphs, 1, (False, False), torch.float32, (True, True, True))
    assert "const S d0" not in none and "const S d1" not in none and "a0[MOST]" not in none
    assert "const S d0" in both and "const S d1" in both
