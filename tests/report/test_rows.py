import pytest

from spikeloom import report
from spikeloom.report.rows import over_seeds, written


def row(seed, accuracy, **changes):
    return {
        "recipe": "ann-cnn", "method": "opi", "overrides": {}, "model_overrides": {"activation": "relu", "seed": seed}, "params": 10,
        "steps": 8,
        "accuracy_at_1": accuracy, "accuracy_at_2": 0.5, "energy_uJ": 10 * accuracy, "steps_to_target": 4, "failure": None, **changes,
    }  # fmt: skip


def test_seeds_merge_into_mean_and_sample_deviation():
    (merged,) = over_seeds([row(0, 0.90), row(1, 0.92), row(2, 0.94)])
    assert merged["runs"] == 3
    assert merged["model_overrides"] == {"activation": "relu"}
    assert merged["accuracy_at_1"] == pytest.approx(0.92)
    assert merged["spread"] == pytest.approx({"accuracy_at_1": 0.02, "energy_uJ": 0.2})  # 0.02 by hand: deviations -.02, 0, .02 over n - 1
    assert (merged["steps"], merged["params"]) == (8, 10)


def test_what_was_chosen_otherwise_stays_apart_and_in_order():
    rows = [row(0, 0.9), row(0, 0.8, method="qcfs"), row(1, 0.92), row(0, 0.7, overrides={"start": 0.5}), row(0, 0.6, steps=16)]
    assert [merged["runs"] for merged in over_seeds(rows)] == [2, 1, 1, 1]


def test_a_number_that_one_run_does_not_know_is_not_known():
    (merged,) = over_seeds([row(0, 0.9), row(1, 0.9, steps_to_target=None)])
    assert merged["steps_to_target"] is None
    assert merged["spread"] == {}


def test_cells_and_table():
    rows = over_seeds([row(0, 0.90), row(1, 0.92), row(0, 0.5, method="cos", steps_to_target=None)])
    assert written(rows[0], "accuracy_at_1") == "91.00 ± 1.41"
    assert written(rows[0], "energy_uJ") == "9.1 ± 0.14"
    assert written(rows[1], "steps_to_target") == written(rows[1], "nothing") == ""
    lines = report.markdown(rows).splitlines()
    names = "recipe | model_overrides | method | runs | params | steps | accuracy_at_1 | accuracy_at_2 | steps_to_target | energy_uJ"
    assert lines[0] == f"| {names} |"
    assert lines[2] == "| ann-cnn | activation = relu | opi | 2 | 10 | 8 | 91.00 ± 1.41 | 50.00 | 4 | 9.1 ± 0.14 |"
    assert len(lines) == 4
