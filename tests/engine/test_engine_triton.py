"""The Triton scans against the reference loop: in Triton's interpreter, and once more on a GPU where there is one."""

import copy
import re
import sys
from itertools import cycle

import pytest
import torch
from against_reference import assert_close, assert_same, differentiated, fused, reference
from test_engine_equality import FIRING
from test_engine_trace import CLOSE, EDGES, EXACT, Adaptive, Memoryless, Table

from spikeloom import SNN, engine, neurons, surrogates
from spikeloom.core.errors import SpikeloomError
from spikeloom.engine import trace, triton, triton_kernel
from spikeloom.neurons import Neuron

pytest.importorskip("triton", reason="no Triton")  # outside its interpreter: what is imported under it cannot compile afterwards
on_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
PAIRED = [(name, options, surrogate) for (name, options, _), surrogate in zip(FIRING, cycle(surrogates.known), strict=False)]
IDS = ["-".join([name, *options.values(), surrogate]) for name, options, surrogate in PAIRED]


@pytest.fixture(autouse=True)
def private_cache(cache_folder, monkeypatch):
    """In place of the C++ tests' own: no compiler is needed here."""
    monkeypatch.setenv("SPIKELOOM_CACHE", str(cache_folder))
    monkeypatch.setenv("SPIKELOOM_BACKEND", "triton")
    monkeypatch.setenv("TRITON_INTERPRET", "1")


@pytest.fixture
def compiled(monkeypatch, tmp_path):
    monkeypatch.delenv("TRITON_INTERPRET")
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))


def driven(shape, steps, dtype=torch.float64, device="cpu", seed=0):
    """Input and initial state of `[T*B, ...]` and `[B, ...]`; every third row in multiples of 1/8, which meet thresholds exactly."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(steps * shape[0], *shape[1:], generator=generator, dtype=torch.float64) * 1.5 + 0.5
    x[::3] = (x[::3] * 8).round() / 8
    state = torch.randn(shape, generator=generator, dtype=torch.float64) / 4
    return x.to(device, dtype), state.to(device, torch.float64 if dtype == torch.float64 else torch.float32)


def test_the_combinations_reach_every_surrogate():
    for name in neurons.known:
        mine = [c[2] for c in PAIRED if c[0] == name]
        assert len(set(mine)) == min(len(mine), len(surrogates.known))


@pytest.mark.parametrize(("name", "options", "surrogate"), PAIRED, ids=IDS)
def test_every_neuron_and_choice(name, options, surrogate):
    neuron = neurons.known[name](**options, surrogate=surrogate, learnable=tuple(neurons.known[name].params)).double()
    x, state = driven((7, 9), 3)
    assert_same(neuron, x, 3, (state,) * len(neuron.states), 1e-12)
    with torch.no_grad():
        assert torch.equal(fused(neuron.float(), x.float(), 3)[0], reference(neuron, x.float(), 3)[0])


@pytest.mark.parametrize(("name", "surrogate"), list(zip(cycle(neurons.known), surrogates.known, strict=False)))
def test_float32(name, surrogate):
    """The kernel's own exp and tanh differ from torch's by a few units in the last place."""
    neuron = neurons.known[name](surrogate=surrogate)
    x, state = driven((7, 9), 2, torch.float32)
    assert_same(neuron, x, 2, (state,) * len(neuron.states), 2e-6)


@pytest.mark.parametrize("surrogate", surrogates.known)
def test_smooth_firing(surrogate):
    neuron = neurons.PLIF(fires="smooth", surrogate=surrogate).double()
    x, state = driven((7, 9), 2)
    ours, theirs = (differentiated(neuron, x, 2, (state,), scan) for scan in (fused, reference))
    assert_close(ours.spikes, theirs.spikes, 1e-13, "spikes")
    assert_close(ours.x, theirs.x, 1e-12, "x")


@pytest.mark.parametrize("shape", [(1, 1), (7, 9), (17, 59)], ids=["1", "63", "1003"])
@pytest.mark.parametrize("steps", [1, 4, 5])
def test_sizes(shape, steps):
    x, state = driven(shape, steps)
    assert_same(neurons.LIF(surrogate="triangle", learnable=("decay",)).double(), x, steps, (state,), 1e-12)


@pytest.mark.parametrize("steps", [16, 17, 37])
def test_many_steps(steps):
    """One segment, then several, the last of them full or cut short."""
    x, state = driven((2, 5), steps)
    assert_same(neurons.LIF(surrogate="triangle", learnable=("decay",)).double(), x, steps, (state,), 1e-12)
    with torch.no_grad():
        assert torch.equal(fused(neurons.LIF().double(), x, steps)[0], reference(neurons.LIF().double(), x, steps)[0])


@pytest.mark.parametrize(("levels", "steps"), [(1, 3), (2, 9), (6, 5)])
def test_levels(levels, steps):
    neuron = neurons.MLF(levels=levels, spacing=0.5, learnable=("decay", "spacing")).double()
    x, state = driven((1, 3), steps)
    assert_same(neuron, x, steps, (state,) * levels, 1e-12)


def layouts(device="cpu"):
    """A neuron with values per channel, and inputs [T*B, C, H, W] = [3*2, 5, 3, 4] in both memory formats, [T*B, C] = [3*4, 5]."""
    neuron = neurons.LIF(decay=torch.linspace(0.1, 0.9, 5), surrogate="atan", learnable=("decay", "threshold")).double().to(device)
    dense, last = torch.contiguous_format, torch.channels_last
    for shape, memory_format in (((2, 5, 3, 4), dense), ((2, 5, 3, 4), last), ((4, 5), dense)):
        x, state = driven(shape, 3, device=device)
        yield neuron, x.to(memory_format=memory_format), state


def test_values_per_channel():
    for neuron, x, state in layouts():
        assert_same(neuron, x, 3, (state,), 1e-12)


def test_without_initial_state_or_gradient_of_x():
    x, _ = driven((7, 9), 3)
    grads = []
    for scan in (fused, reference):
        neuron = neurons.MLF(learnable=("decay", "threshold")).double()
        y, last = scan(neuron, x, 3)
        (y.sum() + (last[1] * last[1]).sum()).backward()
        grads.append([neuron.decay.grad, neuron.threshold.grad])
    torch.testing.assert_close(*grads, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_16_bit_storage(dtype):
    """State and sums are float32; results are rounded once. A rounding may go the other way where float32 differs in its last bit."""
    x, state = driven((7, 9), 3, dtype)
    neuron = neurons.LIF(surrogate="atan", learnable=("decay",))
    ours, theirs = (differentiated(neuron, x, 3, (state,), scan) for scan in (fused, reference))
    assert ours.spikes.dtype == ours.x.dtype == dtype and torch.equal(ours.spikes, theirs.spikes)
    assert ours.last[0].dtype == torch.float32 and torch.equal(ours.last[0], theirs.last[0])
    torch.testing.assert_close(ours.x, theirs.x, rtol=torch.finfo(dtype).eps, atol=1e-6)
    torch.testing.assert_close(ours.values["decay"], theirs.values["decay"], rtol=1e-6, atol=1e-6)


def test_nan_passes_as_in_the_reference():
    x = torch.tensor([[0.7], [float("nan")], [0.7], [float("inf")], [0.1]])
    for fires in ("above", "at_or_above"):
        neuron = neurons.LIF(fires=fires, reset="subtract")
        ours, theirs = fused(neuron, x, 5), reference(neuron, x, 5)
        assert torch.equal(ours[0], theirs[0]) and torch.equal(ours[1][0].isnan(), theirs[1][0].isnan())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_exact_operations_equal_torchs(dtype):
    neuron = Table().to(dtype)
    neuron.operations = (*EXACT.values(), lambda x, p: x.trunc(), lambda x, p: x.ceil(), lambda x, p: torch.where(x > 0, x > p, x))
    x = torch.cat([torch.tensor(EDGES, dtype=dtype), torch.randn(100, dtype=dtype)]).view(1, -1)
    ours, theirs = fused(neuron, x, 1)[1], reference(neuron, x, 1)[1]
    for name, a, b in zip([*EXACT, "trunc", "ceil", "where of a truth value"], ours, theirs, strict=True):
        assert torch.equal(a.isnan(), b.isnan()) and torch.equal(a.nan_to_num(7), b.nan_to_num(7)), name


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 4e-7), (torch.float64, 1e-15)])
def test_transcendental_operations(dtype, tolerance):
    """Against float64 torch, over the whole range; edges, infinities and NaN included."""
    neuron = Table().to(dtype)
    neuron.operations = tuple(lambda x, p, op=op: op(x) for op in CLOSE.values())
    x = torch.cat([torch.tensor(EDGES).to(dtype), *(torch.linspace(-n, n, 1001, dtype=dtype) for n in (2, 110))])
    ours = fused(neuron, x.view(1, -1), 1)[1]
    for (name, op), a in zip(CLOSE.items(), ours, strict=True):
        near = torch.isclose(a[0], op(x.double()).to(dtype), rtol=tolerance, atol=3e-45 if name == "exp" else 1e-15, equal_nan=True)
        assert near.all(), (name, x[~near][:5], a[0][~near][:5])


@pytest.mark.parametrize("cls", [Adaptive, Memoryless])
def test_a_users_neuron_is_fused_like_ours(cls):
    neuron = cls(surrogate="triangle", learnable=tuple(cls.params)).double()
    for steps in (3, 18):
        x, state = driven((2, 5), steps)
        assert_same(neuron, x, steps, (state,) * len(neuron.states), 1e-12)


class Unprintable(Neuron):
    def step(self, x, state, p):
        return torch.special.bessel_j0(x), state


def test_what_cannot_be_printed_is_refused():
    match = r"SPIKELOOM_BACKEND=triton: Unprintable: aten\.special_bessel_j0\.default has no scalar form"
    with pytest.raises(engine.CannotFuse, match=match):
        Unprintable()(torch.randn(3, 2, 2))


def trained(device="cpu", dtype=torch.float64):
    """Weights after one step of a small network on images [B, C, H, W]."""
    torch.manual_seed(0)
    net = torch.nn.Sequential(
        torch.nn.Conv2d(1, 3, 3), neurons.LIF(surrogate="triangle", decay=[0.3, 0.5, 0.7], learnable="decay"), torch.nn.Flatten(),
        torch.nn.Linear(48, 8), neurons.PLIF(), torch.nn.Linear(8, 2),
    )  # fmt: skip
    net = SNN(net.to(device, dtype), steps=3)
    images = torch.rand(4, 1, 6, 6, generator=torch.Generator().manual_seed(1)).to(device, dtype)
    loss = torch.nn.functional.cross_entropy(net(images).mean(0), torch.tensor([0, 1, 0, 1], device=device))
    loss.backward()
    torch.optim.SGD(net.parameters(), lr=0.5).step()
    return [loss.detach(), *(p.detach() for p in net.parameters())]


def test_a_training_step_of_a_network(monkeypatch):
    ours = trained()
    monkeypatch.setenv("SPIKELOOM_BACKEND", "reference")
    torch.testing.assert_close(ours, trained(), rtol=1e-12, atol=1e-13)


def test_on_the_cpu_triton_has_to_be_interpreted(monkeypatch):
    monkeypatch.delenv("TRITON_INTERPRET")
    match = "x is on the CPU, where Triton is only interpreted; set TRITON_INTERPRET=1"
    with pytest.raises(engine.CannotFuse, match=match):
        neurons.LIF()(torch.randn(4, 3, 2))
    assert engine.explain(neurons.LIF())[0] == "reference"


def test_explain(monkeypatch):
    assert re.match(r"interpreted by Triton \d+\.", engine.explain(neurons.LIF())[1])
    monkeypatch.setenv("SPIKELOOM_BACKEND", "auto")
    monkeypatch.delenv("TRITON_INTERPRET")
    backend, reason = engine.explain(neurons.LIF(), device="cuda")
    assert backend == "triton" and re.match(r"fused by Triton \d+\..*, kept in ", reason)
    assert engine.explain(neurons.LIF(), device="meta") == ("reference", "x is on meta; kernels run on the CPU and on CUDA")
    monkeypatch.setenv("SPIKELOOM_BACKEND", "cpp")
    assert engine.explain(neurons.LIF(), device="cuda") == ("reference", "x is on cuda; C++ kernels run on the CPU")


def test_no_triton(monkeypatch, forgetful):
    monkeypatch.setitem(sys.modules, "triton", None)
    triton_kernel.version.cache_clear()
    match = r"no Triton \(.*\); pip install 'spikeloom\[gpu\]'; the reference loop runs"
    with pytest.raises(engine.CannotFuse, match="SPIKELOOM_BACKEND=triton: LIF: " + match):
        neurons.LIF()(torch.randn(4, 3, 2))
    monkeypatch.setenv("SPIKELOOM_BACKEND", "auto")
    with pytest.warns(engine.SlowBackend, match=match) as seen:
        assert engine.explain(neurons.LIF(), device="cuda")[0] == engine.explain(neurons.IF(), device="cuda")[0] == "reference"
    assert len(seen) == 1


def test_more_neurons_than_indices_reach(monkeypatch):
    monkeypatch.setattr(triton_kernel, "MOST", 5)
    with pytest.raises(SpikeloomError, match="neurons of a Triton kernel: got 6; must be at most 5; split the batch"):
        neurons.LIF()(torch.randn(4, 3, 2))


def test_sources_lie_in_the_cache_and_a_damaged_one_is_written_again(monkeypatch, tmp_path):
    monkeypatch.setenv("SPIKELOOM_CACHE", str(tmp_path))
    triton_kernel._module("answer = 42\n", True)
    (path,) = tmp_path.iterdir()
    assert re.fullmatch(r"spikeloom_[0-9a-f]{64}\.py", path.name)
    path.write_text("answer = ")
    assert triton_kernel._module("answer = 42\n", False).answer == 42
    assert path.read_text() == "answer = 42\n" and list(tmp_path.iterdir()) == [path]


def test_contraction_is_off_and_division_exact(compiled):
    """Compiled for a GPU that need not be there: every float32 operation of the machine code rounds to nearest, on its own."""
    from triton import compile
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    neuron = neurons.PLIF(surrogate="sigmoid", reset_gradient="through")
    names = tuple(neuron.values())
    graphs = [make(neuron, names, torch.float32) for make in (trace.step_graph, trace.pull_graph)]
    source, _ = triton.backward_source(*graphs, 1, (False, False), torch.float32, (True, False, True), 2)
    function = triton_kernel._module(source, False).backward
    numbers = {"N": "i32", "T": "i32", "count": "constexpr", "inner": "i32", "C": "i32", "tape": "constexpr"}
    signature = {name: numbers.get(name, "*fp32") for name in function.arg_names}
    built = compile(
        ASTSource(function, signature, {"count": 1, "tape": None}), target=GPUTarget("cuda", 80, 32), options=triton_kernel.OPTIONS
    )
    arithmetic = set(re.findall(r"\b(?:add|sub|mul|div|fma|sqrt|rcp|ex2|tanh)\.\S*f32", built.asm["ptx"]))
    assert {"add.rn.f32", "mul.rn.f32", "div.rn.f32"} <= arithmetic <= {"add.rn.f32", "sub.rn.f32", "mul.rn.f32", "div.rn.f32"}


@pytest.fixture
def gpu(compiled):
    return "cuda"


@on_gpu
@pytest.mark.parametrize(("name", "options", "surrogate"), PAIRED[::3], ids=IDS[::3])
def test_gpu_every_neuron(gpu, name, options, surrogate):
    for dtype, tolerance in ((torch.float64, 1e-12), (torch.float32, 2e-6)):
        neuron = neurons.known[name](**options, surrogate=surrogate, learnable=tuple(neurons.known[name].params)).to(gpu, dtype)
        for shape in ((1, 1), (7, 9), (17, 59)):
            x, state = driven(shape, 5, dtype, gpu)
            assert_same(neuron, x, 5, (state,) * len(neuron.states), tolerance)


@on_gpu
def test_gpu_many_steps_and_layouts(gpu):
    for steps in (16, 17, 37):
        x, state = driven((17, 59), steps, device=gpu)
        assert_same(neurons.LIF(surrogate="triangle", learnable=("decay",)).double().to(gpu), x, steps, (state,), 1e-12)
    for neuron, x, state in layouts(gpu):
        assert_same(neuron, x, 3, (state,), 1e-12)


@on_gpu
def test_gpu_equals_cpu(monkeypatch):
    """The same bits as the interpreter, whose arithmetic is numpy's."""
    neuron = neurons.LIF(surrogate="sigmoid", fires="smooth")
    x, state = driven((7, 9), 5, torch.float32)
    interpreted = differentiated(neuron, x, 5, (state,), fused)
    monkeypatch.delenv("TRITON_INTERPRET")
    ours = differentiated(copy.deepcopy(neuron).cuda(), x.cuda(), 5, (state.cuda(),), fused)
    assert torch.equal(ours.spikes.cpu(), interpreted.spikes) and torch.equal(ours.x.cpu(), interpreted.x)


@on_gpu
def test_gpu_training_step(gpu, monkeypatch):
    ours = trained(gpu)
    monkeypatch.setenv("SPIKELOOM_BACKEND", "reference")
    torch.testing.assert_close(ours, trained(gpu), rtol=1e-10, atol=1e-12)


def test_packed_memory_is_refused():
    neuron = neurons.LIF(surrogate="rectangle", reset_gradient="detached", memory="packed")
    with pytest.raises(engine.CannotPack, match="'packed' is kept by the CPU's kernels only; use memory='input' with Triton"):
        fused(neuron, torch.randn(4, 3, requires_grad=True), 2)
