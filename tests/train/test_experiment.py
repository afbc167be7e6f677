import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from spikeloom import recipes, report
from spikeloom.core import bibliography
from spikeloom.core.errors import RecipeError, RecordError
from spikeloom.train import experiment, record
from spikeloom.train.experiment import Experiment, override, perform
from spikeloom.train.run import Claim


@dataclass(frozen=True, kw_only=True)
class Squares(Experiment):
    """Adds up squares; stops at the part named in the file `killed-at`, as a killed run would."""

    count: int = 3

    def parts(self) -> list[str]:
        return [f"part-{i}" for i in range(self.count)]

    def run(self, part: str, folder: Path, data_dir: str | None, advance: Callable[[float], None]) -> dict[str, Any]:
        if (folder / "killed-at").exists() and (folder / "killed-at").read_text() == part:
            raise KeyboardInterrupt
        log = folder / "log"
        log.write_text((log.read_text() if log.exists() else "") + part + " ")
        advance(0.5)
        return {"square": (int(part[5:]) + self.seed) ** 2}

    def summarise(self, results: Mapping[str, dict[str, Any]], folder: Path) -> dict[str, Any]:
        values = [result["square"] for result in results.values()]
        line = {"kind": "lines", "title": "Squares", "series": [{"name": "n", "x": [*range(len(values))], "y": values}]}
        return {"accuracy": {"test": 0.5}, "results": {"sum": sum(values)}, "figures": [line], "params": 7}


def squares(**changes: Any) -> Squares:
    claim = Claim("sum", None, "nowhere", "N")
    return Squares(recipe="squares", title="Squares", paper=bibliography.STBP, claim=claim, **changes)


def test_every_part_is_run_once_in_order_and_summarised(tmp_path):
    found = perform(squares(seed=1), tmp_path)
    assert (tmp_path / "log").read_text() == "part-0 part-1 part-2 "
    assert found["results"] == {"sum": 1 + 4 + 9}
    assert found["parts"] == {"done": 3, "of": 3}
    assert found["accuracy"] == {"last": None, "best": None, "validated": None, "test": 0.5}
    assert found["options"] == {"seed": 1, "count": 3}
    assert record.read(tmp_path) == record.plain(found)


def test_a_killed_experiment_keeps_its_parts_and_goes_on(tmp_path):
    (tmp_path / "killed-at").write_text("part-2")
    with pytest.raises(KeyboardInterrupt):
        perform(squares(), tmp_path)
    assert record.read(tmp_path)["parts"] == {"done": 2, "of": 3}
    assert record.read(tmp_path)["results"] == {"sum": 0 + 1}
    assert "Not finished: 2 of 3 parts" in report.write(tmp_path).read_text()
    (tmp_path / "killed-at").unlink()
    found = perform(squares(), tmp_path, resume="allowed")
    assert (tmp_path / "log").read_text() == "part-0 part-1 part-2 "
    assert found["results"] == {"sum": 0 + 1 + 4}
    assert "Not finished" not in report.write(tmp_path).read_text()


def test_a_folder_with_another_experiment_is_refused(tmp_path):
    perform(squares(count=1), tmp_path)
    with pytest.raises(RecordError, match="holds a run already; add --resume"):
        perform(squares(count=1), tmp_path)
    with pytest.raises(RecordError, match=r"holds another run \(options differ\)"):
        perform(squares(count=2), tmp_path, resume="allowed")


def test_overrides_name_the_subclass_fields_and_the_seed_only():
    changed = override(squares(), {"count": "5", "seed": "2"})
    assert (changed.count, changed.seed) == (5, 2)
    with pytest.raises(RecipeError, match="squares: no field 'counts'; did you mean 'count'"):
        override(squares(), {"counts": "5"})
    with pytest.raises(RecipeError, match="squares: no field 'title'"):
        override(squares(), {"title": "other"})
    with pytest.raises(RecipeError, match=r"squares.count: got 'many'; must be of type int"):
        override(squares(), {"count": "many"})


def test_commands_that_need_one_network_refuse_an_experiment():
    with pytest.raises(RecordError, match="eval: squares is an experiment, not one network"):
        experiment.refuse(squares(), "eval")
    experiment.refuse(recipes.load("stbp-digits"), "eval")


def test_it_cites_its_paper_and_its_data():
    assert experiment.papers(squares()) == [bibliography.STBP]
    assert len(experiment.papers(squares(data="mnist"))) == 2


def test_a_part_is_read_from_its_file_not_kept_in_memory(tmp_path):
    perform(squares(count=2), tmp_path)
    stored = json.loads((tmp_path / "parts" / "part-1.json").read_text())
    assert stored["square"] == 1 and stored["seconds"] >= 0
