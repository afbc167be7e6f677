"""Interleaving, medians and paired ratios, on a clock that the contenders move by hand."""

import pytest

from spikeloom.bench.timing import Plan, Timing, interleaved


class Clock:
    """Time passes only while a contender runs."""

    def __init__(self):
        self.time = 0.0
        self.calls = []

    def now(self):
        return self.time

    def contender(self, name, seconds):
        """Takes `seconds(k)` at its k-th call."""
        count = iter(range(10**6))

        def run():
            self.calls.append(name)
            self.time += seconds(next(count))

        return run


def test_the_median_and_the_ratio_within_rounds_by_hand():
    unit = Timing({0: 1.0, 1: 2.0, 2: 4.0}, 1)
    other = Timing({0: 3.0, 1: 4.0, 2: 20.0}, 1)
    assert (unit.median, other.median) == (2.0, 4.0)
    assert other.over(unit) == 3.0  # of 3, 2 and 5; the ratio of the medians would be 2
    assert Timing({1: 4.0}, 1).over(unit) == 2.0


def test_a_drifting_machine_leaves_the_paired_ratio_alone():
    clock = Clock()

    def slower_every_round(base):
        return lambda k: base * 2 ** max(0, k - 2)  # two warm-up calls

    runs = {"copy": clock.contender("copy", slower_every_round(1.0)), "ours": clock.contender("ours", slower_every_round(2.5))}
    found = interleaved(runs, Plan(rounds=5, sample=0.0, budget=1e9), now=clock.now)
    assert found["ours"].over(found["copy"]) == 2.5
    assert found["copy"].times == {r: 2.0**r for r in range(5)}


def test_a_slow_contender_joins_fewer_rounds_spread_over_all_and_the_unit_joins_every_one():
    clock = Clock()
    runs = {"copy": clock.contender("copy", lambda k: 20.0), "slow": clock.contender("slow", lambda k: 10.0)}
    found = interleaved(runs, Plan(rounds=9, least=3, budget=40.0, sample=0.0), now=clock.now)
    assert sorted(found["slow"].times) == [0, 2, 4, 6]
    assert len(found["copy"].times) == 9


def test_the_slowest_still_joins_the_least_number_of_rounds():
    clock = Clock()
    runs = {"copy": clock.contender("copy", lambda k: 1.0), "slow": clock.contender("slow", lambda k: 1e6)}
    found = interleaved(runs, Plan(rounds=9, least=3, budget=1.0, sample=0.0), now=clock.now)
    assert sorted(found["slow"].times) == [0, 3, 6]


def test_quick_calls_are_repeated_until_a_sample_is_long_enough():
    clock = Clock()
    found = interleaved({"copy": clock.contender("copy", lambda k: 0.25)}, Plan(rounds=3, sample=2.0), now=clock.now)
    assert found["copy"].calls == 8
    assert set(found["copy"].times.values()) == {0.25}
    assert len(clock.calls) == 2 + 3 * 8


def test_the_order_is_shuffled_anew_each_round_and_the_same_at_every_run():
    def orders():
        clock = Clock()
        names = "abcde"
        interleaved({n: clock.contender(n, lambda k: 1.0) for n in names}, Plan(rounds=6, sample=0.0, budget=1e9), now=clock.now)
        rounds = "".join(clock.calls[2 * len(names) :])
        return [rounds[i : i + 5] for i in range(0, len(rounds), 5)]

    first = orders()
    assert all(sorted(turn) == list("abcde") for turn in first)
    assert len(set(first)) > 1
    assert first == orders()


def test_the_device_is_waited_for_on_both_sides_of_a_sample():
    clock, seen = Clock(), []
    run = clock.contender("copy", lambda k: 1.0)
    runs = {"copy": lambda: (seen.append("run"), run())}
    interleaved(runs, Plan(rounds=1, sample=0.0), now=clock.now, synchronise=lambda: seen.append("|"))
    assert seen == ["run", "|", "run", "|", "|", "run", "|"]


def test_an_error_in_a_contender_gets_out_and_leaves_garbage_collection_on():
    import gc

    clock = Clock()
    runs = {"copy": clock.contender("copy", lambda k: 1.0 if k < 2 else 1 / 0)}
    with pytest.raises(ZeroDivisionError):
        interleaved(runs, Plan(rounds=1, sample=0.0), now=clock.now)
    assert gc.isenabled()
