"""A run, a climb and their reports tell what the words are like, beside the loss."""

import numpy as np

from helpers import a_result, tiny_run
from rungwise.analysis.evidence import Measured
from rungwise.analysis.tables import word_rows
from rungwise.config import get_protocol
from rungwise.inference.sample import generate
from rungwise.ladder import RUNGS
from rungwise.report import figures, of_run
from rungwise.training import run_dir


def test_a_run_tells_what_its_words_are_like(tmp_path):
    folder = tiny_run(tmp_path)
    final = run_dir.read_metrics(folder)[-1]
    run = run_dir.load(folder)
    drawn = list(generate(run.model, run.vocabulary, 1000, run.sampled_firsts, seed=0, known=run.known))
    assert (final["words_n"], final["words_distinct"]) == (1000, len({w.text for w in drawn}) / 1000)
    assert final["words_new"] == np.mean([w.new for w in drawn]) and 0 < final["words_distance"] < 1
    assert "words_floor" not in final  # of forty words no thousand are held out
    (told,) = [text for s in of_run.sections(folder) for b in s.blocks if "are not in the list" in (text := str(b))]
    assert f"{final['words_distinct']:.1%}" in told


def judged(rung: str, seed: int, loss: float, distance: float):
    words = {"n": 1000, "distinct": 0.9, "new": 0.8, "distance": distance, "floor": 0.05}
    return a_result(rung, seed, loss, detail={"words": words})


RESULTS = [
    judged(name, seed, 2.5 - 0.1 * i + 0.01 * seed, 0.3 - 0.02 * i)
    for i, name in enumerate(("baseline", "double-embd", "2-heads"))
    for seed in (0, 1)
]


def test_words_stand_beside_the_loss_with_an_interval_and_the_floor():
    rungs = [RUNGS[r] for r in dict.fromkeys(r.rung for r in RESULTS)]
    rows = word_rows(rungs, RESULTS)
    assert rows[0][1].startswith("2.505 ± ") and rows[0][2:] == ("0.900 ± 0.000", "0.800 ± 0.000", "0.300 ± 0.000")
    assert rows[-1] == ("real held-out words", "", "", "", "0.050") and len(rows) == len(rungs) + 1
    assert word_rows(rungs, [a_result("baseline", 0)]) == []


def test_the_report_asks_whether_a_lower_loss_means_better_words():
    measured = Measured(get_protocol("article"), "names", RESULTS[0].data_sha256, RESULTS)
    (figure,) = figures.loss_and_words(measured)
    assert "Rank correlation over 3 rungs: 1.00 (1.00 to 1.00 within each of 2 seeds)" in figure.caption
    assert "new words" not in figure.caption  # all alike
    assert "Noise floor: 0.050" in figure.description
    assert figure.data.count("\n") == 1 + len(RESULTS)
    assert figures.loss_and_words(Measured(get_protocol("article"), "names", "", RESULTS[:2])) == []


def test_it_is_told_where_a_lower_loss_means_more_words_of_the_list():
    for r in (falling := [judged(r.rung, r.seed, r.test_loss, r.detail["words"]["distance"]) for r in RESULTS]):
        r.detail["words"] |= {"new": r.test_loss / 3, "floor": None}  # too few words are held out
    (figure,) = figures.loss_and_words(Measured(get_protocol("article"), "names", RESULTS[0].data_sha256, falling))
    assert "The lower the loss, the more words are in the list" in figure.caption and "floor" not in figure.caption
