"""A trained network as a graph of modules that passes rewrite."""

from __future__ import annotations

import copy
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, fx, nn

from spikeloom.convert.affine import Affine
from spikeloom.convert.vocabulary import ACTIVATIONS
from spikeloom.core.errors import DataError, SpikeloomError, refusal

ADD, CAT = torch.add, torch.cat  # the two functions left beside modules; CAT along axis 1


class ConversionError(SpikeloomError):
    """A network that cannot be converted; names the operation, its place and what to do."""


@dataclass
class Net:
    """A graph under conversion.

    module: its nodes are calls of modules of the vocabulary, `ADD` and `CAT`. sample: a few inputs `[B, ...]`.
    facts: what holds for the graph, see `passes/base.py`. scales: ANN activation per unit of what an activation node gives, by node name.
    """

    module: fx.GraphModule
    sample: Tensor
    facts: set[str] = field(default_factory=set)
    scales: dict[str, Tensor] = field(default_factory=dict)

    @property
    def nodes(self) -> list[fx.Node]:
        """All nodes in the order of computation."""
        return list(self.module.graph.nodes)

    def of(self, node: fx.Node) -> nn.Module | None:
        """The module a node calls; None for others."""
        return self.module.get_submodule(str(node.target)) if node.op == "call_module" else None

    def calls(self, kinds: tuple[type, ...]) -> Iterator[tuple[fx.Node, Any]]:
        """`(node, module)` of the calls of modules of these kinds, in the order of computation."""
        for node in self.nodes:
            module = self.of(node)
            if isinstance(module, kinds):
                yield node, module

    def activations(self) -> list[tuple[fx.Node, Any]]:
        """The nodes that become neurons."""
        return list(self.calls(ACTIVATIONS))

    def shape(self, node: fx.Node) -> torch.Size:
        """Shape of a node's value for `sample`."""
        if "shape" not in node.meta:
            self.measure()
        return node.meta["shape"]

    def measure(self) -> None:
        """Note the shape of every node's value."""

        def note(node: fx.Node, value: Any) -> None:
            node.meta["shape"] = value.shape if isinstance(value, Tensor) else None

        self.watch(note, self.sample[:2])

    @torch.no_grad()
    def watch(self, look: Callable[[fx.Node, Any], Any], x: Tensor, until: fx.Node | None = None) -> Any:
        """Run the graph on x; `look(node, value)` sees every value and may give another in its place. Stops after `until`."""
        return _Watched(self.module, look, until).run(x)

    def replace(self, node: fx.Node, module: nn.Module) -> None:
        """Put `module` in the place of the one that `node` calls."""
        parent, _, name = str(node.target).rpartition(".")
        setattr(self.module.get_submodule(parent), name, module)

    def add(self, name: str, module: nn.Module) -> str:
        """Add a submodule under a free name like `name`; returns the name."""
        name = name.replace(".", "_")
        free, k = name, 1
        while hasattr(self.module, free):
            free, k = f"{name}_{k}", k + 1
        self.module.add_module(free, module)
        return free

    def after(self, source: fx.Node, name: str, module: nn.Module) -> fx.Node:
        """Call `module` on the value of `source` and give its result to all that read `source`."""
        with self.module.graph.inserting_after(source):
            node = self.module.graph.call_module(self.add(name, module), (source,))
        source.replace_all_uses_with(node, delete_user_cb=lambda user: user is not node)
        self._like(node, source, module)
        return node

    def before(self, reader: fx.Node, source: fx.Node, name: str, module: nn.Module) -> fx.Node:
        """Call `module` on the value of `source` for `reader` alone."""
        with self.module.graph.inserting_before(reader):
            node = self.module.graph.call_module(self.add(name, module), (source,))
        reader.replace_input_with(source, node)
        self._like(node, source, module)
        return node

    def remove(self, node: fx.Node) -> None:
        """Take out a call; its readers read its input."""
        target = str(node.target)
        node.replace_all_uses_with(node.args[0])  # type: ignore[arg-type]
        self.module.graph.erase_node(node)
        if all(str(other.target) != target for other in self.nodes):
            self.module.delete_submodule(target)

    def compiled(self) -> fx.GraphModule:
        """The module with its code written anew."""
        self.module.graph.lint()
        self.module.recompile()
        return self.module

    def copy(self) -> Net:
        """A copy that shares nothing but the sample."""
        return Net(copy.deepcopy(self.compiled()), self.sample, set(self.facts), {k: v.clone() for k, v in self.scales.items()})

    def _like(self, node: fx.Node, source: fx.Node, module: nn.Module) -> None:
        if "shape" in source.meta and isinstance(module, (Affine, *ACTIVATIONS)):
            node.meta["shape"] = source.meta["shape"]


class _Watched(fx.Interpreter):
    def __init__(self, module: fx.GraphModule, look: Callable[[fx.Node, Any], Any], until: fx.Node | None) -> None:
        super().__init__(module)
        self.look, self.until = look, until

    def run_node(self, n: fx.Node) -> Any:
        value = super().run_node(n)
        other = self.look(n, value)
        return value if other is None else other

    def run(self, *args: Any, **kwargs: Any) -> Any:
        if self.until is None:
            return super().run(*args, **kwargs)
        self.env, self.args_iter = {}, iter(args)
        for node in self.module.graph.nodes:
            self.env[node] = self.run_node(node)
            for old in self.user_to_last_uses.get(node, []):
                self.env.pop(old, None)
            if node is self.until:
                return self.env.get(node)
        return None


class Batches:
    """Calibration inputs `[B, ...]` from a tensor or an iterable of inputs or (inputs, labels); can be read again and again."""

    def __init__(self, data: Any, size: int = 64) -> None:
        if isinstance(data, Tensor):
            self.rows: Iterable[Any] = data.split(size)
        else:
            # a generator can be read once only
            self.rows = list(data) if iter(data) is data else data

    def __iter__(self) -> Iterator[Tensor]:
        for row in self.rows:
            yield row[0] if isinstance(row, (list, tuple)) else row

    def sample(self, count: int) -> Tensor:
        """Up to `count` inputs: those of smallest checksum, so that neither the order nor the size of batches matters."""
        kept: list[tuple[int, int, Tensor]] = []
        for x in self:
            rows = x.detach().cpu().contiguous()
            for k, row in enumerate(rows):
                kept.append((zlib.crc32(row.numpy().tobytes()), len(kept), x[k]))
            kept = sorted(kept, key=lambda item: item[:2])[:count]
        if not kept:
            raise DataError(refusal("calibration data", "no inputs", "at least one batch [B, ...] as the model takes it"))
        return torch.stack([row for _, _, row in kept])
