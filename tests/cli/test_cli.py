import json

import pytest

from spikeloom import recipes
from spikeloom.cli import main


def _run(capsys, *words: str) -> tuple[int, str, str]:
    status = main(list(words))
    shown = capsys.readouterr()
    return status, shown.out, shown.err


def test_list_shows_every_recipe(capsys):
    status, out, _ = _run(capsys, "list")
    assert status == 0
    assert all(name in out for name in recipes.known)


def test_cite_prints_bibtex_of_the_run_its_parts_and_its_data(capsys):
    status, out, _ = _run(capsys, "cite", "mlf-dsresnet-fashion")
    assert status == 0
    for key in ("feng2022mlf", "zheng2021tdbn", "wu2018stbp", "xiao2017"):
        assert "{" + key in out


def test_explain_names_a_backend_for_each_neuron(capsys, monkeypatch):
    monkeypatch.setenv("SPIKELOOM_BACKEND", "reference")
    status, out, _ = _run(capsys, "explain", "stbp-mnist")
    assert status == 0
    assert out.count("reference") >= 4


def test_explain_names_the_norm_that_a_neuron_applies(capsys, monkeypatch):
    monkeypatch.setenv("SPIKELOOM_BACKEND", "reference")
    status, out, _ = _run(capsys, "explain", "mlf-dsresnet-digits")
    rows = [[cell.strip() for cell in line.split("│")[1:3]] for line in out.splitlines() if line.startswith("│")]
    assert status == 0 and ["3.branch.2", "3.branch.1"] in rows and ["3.neuron", "3.branch.4"] in rows


def test_explain_shows_the_layers_of_an_engine(capsys):
    status, out, _ = _run(capsys, "explain", "mlf-dsresnet-digits", "engine=sparse", "--images", "4")
    rows = {cells[1].strip(): [c.strip() for c in cells[2:6]] for line in out.splitlines() if len(cells := line.split("│")) == 9}
    assert status == 0 and rows["0"] == ["dense", "dense", "dense", "-"]
    assert rows["3.branch.0"][:2] == ["list", "list"] and rows["3.branch.0"][3].endswith("%")


def test_train_eval_compare_report_in_a_row(capsys, tmp_path):
    for seed in (0, 1):
        status, out, _ = _run(capsys, "train", "stbp-digits", "--out", str(tmp_path / f"r{seed}"), "epochs=1", "steps=2", f"seed={seed}")
        assert status == 0 and "validated" in out
    status, out, _ = _run(capsys, "eval", str(tmp_path / "r0"), "--json", str(tmp_path / "e.json"))
    assert status == 0
    recorded = json.loads((tmp_path / "r0" / "record.json").read_text())
    assert json.loads((tmp_path / "e.json").read_text())["accuracy"]["test"] == recorded["accuracy"]["test"]
    status, out, _ = _run(capsys, "compare", str(tmp_path / "r0"), str(tmp_path / "r1"), "--out", str(tmp_path / "c"))
    assert status == 0 and out.count("stbp-digits") == 2
    assert len(json.loads((tmp_path / "c" / "compare.json").read_text())) == 2
    assert (tmp_path / "c" / "report.html").stat().st_size > 10_000
    status, out, _ = _run(capsys, "report", str(tmp_path / "r1"))
    assert status == 0 and (tmp_path / "r1" / "report.html").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("train", "stbp-minst"), "did you mean 'stbp-mnist'"),
        (("train", "stbp-digits", "epoch=1"), "did you mean 'epochs'"),
        (("train", "stbp-digits", "epochs"), "must be key=value"),
        (("eval", "stbp-digits"), r"eval --weights: got None"),
        (("report", "nowhere"), "nowhere"),
        (("train", "sew-7b-gesture", "--out", "{tmp}"), "dvs_gesture"),
    ],
)
def test_mistakes_end_with_one_line_and_status_2(capsys, tmp_path, words, message):
    status, _, err = _run(capsys, *(word.format(tmp=tmp_path / "run") for word in words))
    assert status == 2
    assert message in err
    assert err.count("\n") == 1
