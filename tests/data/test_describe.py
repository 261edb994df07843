"""`rungwise data` and `rungwise eval` against plain Python."""

import json
import math
import re
from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers import TINY, WORDS, command, flags, listed, tiny_run
from rungwise.config import PROTOCOLS
from rungwise.data.batches import Tape
from rungwise.data.describe import survey, visible
from rungwise.data.ngram import fit
from rungwise.data.words import END, PAD, split
from rungwise.inference.evaluate import assess
from rungwise.training import run_dir


@settings(deadline=None)
@given(st.lists(st.text("abc.é", min_size=1, max_size=5), min_size=1, max_size=60))
def test_what_a_list_holds(some):
    found = survey(listed(some), 64, counts=False)
    assert found["words"] == len(some)
    assert found["distinct"] == len(set(some))
    assert found["duplicates"] == len(some) - len(set(some))
    assert found["lengths"] == dict(sorted(Counter(map(len, some)).items()))
    assert found["alphabet"] == dict(sorted(Counter("".join(some)).items()))
    assert found["seen_once"] == sorted(c for c, n in Counter("".join(some)).items() if n == 1)
    assert found["to_beat"] is None
    if len(some) >= 2:
        parts = split(listed(some), PROTOCOLS["article"])
        train = {some[i] for i in parts.train}
        leaked = sum(some[i] in train for i in parts.test)
        assert (found["leaked"]["test_words"], found["leaked"]["also_in_training"]) == (len(parts.test), leaked)


def test_the_figures_to_beat_are_those_of_counts():
    words, strict = listed(WORDS), PROTOCOLS["strict"]
    parts = split(words, strict)
    train, validation, test = (Tape.of(words, part, strict) for part in (parts.train, parts.validation, parts.test))
    found = survey(words, 64)["to_beat"]
    best = fit(train, len(words.vocabulary)).best_order(validation)
    assert found["kneser_ney_order"] == best
    assert found["kneser_ney"] == pytest.approx(fit(train, len(words.vocabulary), best).loss(test))
    assert found["bigram"] == pytest.approx(fit(train, len(words.vocabulary), 2).loss(test))
    assert found["by_order"] == {n: pytest.approx(fit(train, len(words.vocabulary), n).loss(test)) for n in range(1, 8)}
    assert found["uniform"] == pytest.approx(math.log(len(words.vocabulary) - 1))


def test_data_tells_what_is_dropped_and_why(tmp_path):
    (tmp_path / "l.csv").write_text('name\nanna\nbea\n"a\nb"\n' + "x" * 70 + '\n""\ncarl\nanna\nSmith, John\n')
    done = command("data", tmp_path / "l.csv", "--column", "name")
    assert done.status == 0
    assert "l.csv: 4 words, 3 distinct, 1 repeated" in done.out
    assert (
        "Dropped: 1 longer than 64 characters, 1 holds a line break, 1 blank, 1 in rows with more or fewer cells"
        in done.out
    )
    assert "Seen once" in done.out
    found = json.loads(command("data", tmp_path / "l.csv", "--column", "name", "--json").out)
    assert list(found["dropped"].values()) == [1, 1, 1, 1]
    assert found["to_beat"]["protocol"] == "strict"


def test_invisible_characters_are_named():
    assert visible("a") == "a"
    assert visible("\u0301") == "U+0301 COMBINING ACUTE ACCENT"
    assert visible("\u200d") == "U+200D ZERO WIDTH JOINER"
    assert visible(" ") == "U+0020 SPACE"
    assert visible("\x07") == "U+0007"


@torch.no_grad()
def by_hand(run: run_dir.Run, word: str) -> tuple[float, int, int]:
    """Nats, scored tokens, and right guesses of a word, one token after the other."""
    ids = [*run.vocabulary.encode(word), END]
    ids = [END, *ids] if run.protocol.start_token else ids
    nats, right = 0.0, 0
    for t in range(1, len(ids)):
        row = run.model(torch.tensor([ids[:t]]))[0, -1].double()
        nats -= float(row.log_softmax(-1)[ids[t]])
        right += int(row.argmax()) == ids[t]
    assert PAD not in ids
    return nats, len(ids) - 1, right


@pytest.mark.parametrize("protocol", ["strict", "article"])
def test_eval_against_a_loop(tmp_path, protocol):
    run = run_dir.load(tiny_run(tmp_path, protocol))
    some = ["anna", "bea", "anna", "Qanna", "zoé", "x", "carl"]
    known = [word for word in some if set(word) <= set(run.vocabulary.characters)]
    found = assess(run.model, run.vocabulary, run.word_start, listed(some))
    assert list(found.words) == known
    assert found.unknown == {"Q": 1, "é": 1}
    assert found.n_unknown_words == 2
    hand = [by_hand(run, word) for word in known]
    np.testing.assert_allclose(found.scores.words, [nats for nats, _, _ in hand], rtol=1e-5)
    s = found.summary(run.protocol, listed(some))
    n = sum(tokens for _, tokens, _ in hand)
    nats = sum(nats for nats, _, _ in hand)
    assert s["characters_scored"] == n
    assert s["nats_per_character"] == pytest.approx(nats / n)
    assert s["bits_per_character"] == pytest.approx(nats / n / math.log(2))
    assert s["perplexity_per_character"] == pytest.approx(math.exp(nats / n))
    assert s["perplexity_per_word"] == pytest.approx(math.exp(nats / len(known)))
    assert s["accuracy"] == pytest.approx(sum(right for _, _, right in hand) / n)
    order = sorted(set(known), key=lambda word: by_hand(run, word)[0] / by_hand(run, word)[1])
    assert [word for word, _ in s["most_likely"]] == order
    assert [word for word, _ in s["least_likely"]] == order[::-1]


def test_eval_and_sample_agree_on_a_word(tmp_path):
    folder = tiny_run(tmp_path)
    drawn = [json.loads(line) for line in command("sample", folder, "-n", 30, "--json").out.splitlines()]
    (tmp_path / "drawn").write_text("".join(f"{word['word']}\n" for word in drawn))
    done = command("eval", folder, tmp_path / "drawn", "--words", "--json")
    scored = [json.loads(line) for line in done.out.splitlines()]
    assert [word["word"] for word in scored] == [word["word"] for word in drawn]
    assert [word["nats"] for word in scored] == pytest.approx([-word["log_likelihood"] for word in drawn], abs=1e-4)
    assert json.loads(done.err)["words_scored"] == 30


@pytest.mark.parametrize("protocol", ["strict", "article"])
def test_words_beyond_the_learned_positions_are_counted(tmp_path, protocol):
    (tmp_path / "l").write_text("\n".join(WORDS))
    fields = flags(**{**TINY, "steps": 3, "position": "learned", "protocol": protocol})
    assert command("train", "--data", tmp_path / "l", "--out", tmp_path / "r", *fields).status == 0
    # Longest word: fritz, 5 characters, and END: 6 places. Without a start token, a word of 6 still fits.
    asked = b"anna\nfritz\nmarina\nannalena\nBOB\nmarina\n"
    done = command("eval", tmp_path / "r", "-", "--words", "--json", stdin=asked)
    assert done.status == 0, done.err
    told = json.loads(done.err)
    scored = [json.loads(line)["word"] for line in done.out.splitlines()]
    beyond = {"strict": 3, "article": 1}[protocol]
    assert told["words_beyond_the_last_position"] == beyond
    assert (told["words"], told["words_scored"], told["words_with_unknown_characters"]) == (6, 5 - beyond, 1)
    assert scored == [w for w in ("anna", "fritz", "marina", "marina") if beyond == 1 or w != "marina"]
    text = command("eval", tmp_path / "r", "-", stdin=asked).out
    assert f"Not scored: {beyond} words longer than the model's learned positions reach" in text
    # What is left is scored as alone.
    alone = command("eval", tmp_path / "r", "-", "--json", stdin="\n".join(scored).encode())
    assert json.loads(alone.out)["nats_per_character"] == pytest.approx(told["nats_per_character"])
    drawn = command("sample", tmp_path / "r", "-n", 200).out.splitlines()
    assert max(map(len, drawn)) <= 5


def test_perplexities_that_no_float_holds(tmp_path):
    folder = tiny_run(tmp_path)
    arguments = ("eval", folder, "-", "--max-length", 999)
    data = b"x" * 900
    found = json.loads(command(*arguments, "--json", stdin=data).out, parse_constant=pytest.fail)
    assert found["perplexity_per_word"] is None
    assert found["nats_per_word"] > 710  # exp() of it is no float
    assert "a character, above 1e300 a word" in command(*arguments, stdin=data).out
    assert re.search(r"a character, \d\.\d+e\+\d+ a word", command(*arguments, stdin=b"x" * 20).out)


def test_eval_reports_what_it_cannot_score(tmp_path):
    folder = tiny_run(tmp_path)
    done = command("eval", folder, "-", stdin="anna\nzoé\nétéé\n".encode())
    assert done.status == 0
    assert "standard input: 3 words, 1 scored (protocol strict: every character and the end)" in done.out
    assert "Not scored: 2 words with characters outside the alphabet (1 of them: 'é' 4)" in done.out
    lines = command("eval", folder, "-", "--words", stdin=b"anna\nbea\n").out.splitlines()
    assert [line.split("\t")[-1] for line in lines] == ["word", "anna", "bea"]
