"""The contract every neuron keeps, as functions that run on any `Neuron` subclass: ours, or your own.

    from spikeloom.testing import check_neuron
    check_neuron(MyNeuron, decay=0.5)

`contracts` holds the same as (name, function) pairs, so that a test runner can cross them with classes; `hold` runs one of them.
Needs torch and spikeloom, no test framework. Every contract is checked on whatever backend runs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from spikeloom.neurons import Neuron
from spikeloom.testing import behaviour, equations, gradients, refusals

Contract = Callable[[type[Neuron], Mapping[str, Any]], None]

contracts: list[tuple[str, Contract]] = [
    (function.__name__.replace("_", " "), function)
    for function in (
        equations.hand_trace, equations.reductions, equations.charge_conservation, equations.threshold_hits,
        behaviour.fresh_calls, behaviour.chunks, behaviour.one_step, behaviour.batch_order, behaviour.shapes, behaviour.layouts,
        behaviour.purity, behaviour.inside_a_network, behaviour.stream, behaviour.per_channel, behaviour.not_a_number,
        behaviour.half_precision, behaviour.backends,
        gradients.smooth_gradients, gradients.detached_gradients, gradients.per_channel_gradients,
        refusals.bad_parameters, refusals.unknown_names, refusals.bad_shapes,
    )
]  # fmt: skip

# (class, contract) -> why it cannot hold. An entry whose contract holds is an error, so the ledger cannot go stale.
UNSUPPORTED: dict[tuple[str, str], str] = {
    ("PLIF", "charge conservation"): "the membrane always leaks: 1/tau = sigmoid(w) > 0 scales the drive",
    ("SignedIF", "charge conservation"): "two thresholds share one membrane: a negative spike gives threshold / slope back",
    ("TerIF", "charge conservation"): "negative spikes give charge back, below 0 and not below their threshold",
    ("AugIF", "charge conservation"): "a spike takes away as many thresholds as its coefficient says, and a negative one gives them back",
    ("SRPIF", "charge conservation"): "the membrane starts again after the prelude",
    ("COSIF", "charge conservation"): "the membrane starts again after the prelude",
}


def hold(name: str, neuron_class: type[Neuron], unsupported: Mapping[str, str] | None = None, **options: Any) -> None:
    """Run the contract `name` on `neuron_class(**options)`.

    unsupported: contract names that cannot hold, with the reason; they must then fail.
    Raises: AssertionError with a sentence that says what failed; KeyError for a contract that does not exist.
    """
    excused = {contract: why for (cls, contract), why in UNSUPPORTED.items() if cls == neuron_class.__name__} | dict(unsupported or {})
    title, contract = f"{neuron_class.__name__}, contract {name!r}", dict(contracts)[name]
    try:
        contract(neuron_class, options)
    except AssertionError as broken:
        if name not in excused:
            raise AssertionError(f"{title}: {broken}") from broken
    except Exception as error:
        raise AssertionError(f"{title}: raised {type(error).__name__}: {error}") from error
    else:
        if name in excused:
            raise AssertionError(f"{title}: holds, but is listed as unsupported ({excused[name]}); delete the entry")


def check_neuron(neuron_class: type[Neuron], *, unsupported: Mapping[str, str] | None = None, **options: Any) -> None:
    """Run every contract on `neuron_class(**options)`; `unsupported` as in `hold`.

    Raises: AssertionError with one line per broken contract.
    """
    known = [name for name, _ in contracts]
    for name in unsupported or {}:
        if name not in known:
            raise AssertionError(f"unsupported: got {name!r}; must be one of {known}")
    broken = []
    for name in known:
        try:
            hold(name, neuron_class, unsupported, **options)
        except AssertionError as sentence:
            broken.append(str(sentence))
    if broken:
        raise AssertionError(f"{neuron_class.__name__} breaks {len(broken)} of {len(known)} contracts\n" + "\n".join(broken))
