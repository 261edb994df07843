"""`rungwise data`: what a list holds, and what there is to beat. No torch here."""

import json
import unicodedata
from collections.abc import Iterator
from typing import Any

import numpy as np

from rungwise.config import ListConfig, get_protocol
from rungwise.data import words
from rungwise.data.batches import Tape
from rungwise.data.ngram import fit
from rungwise.data.words import FIRST_CHARACTER, WordList
from rungwise.errors import UserError

BAR = 40


def survey(listed: WordList, max_length: int, counts: bool = True, condition: str | None = None) -> dict[str, Any]:
    """All that `rungwise data` tells, for programs."""
    n_distinct, tokens = len(listed.firsts), listed.vocabulary.tokens
    conditions = listed.first_counts(np.arange(len(listed)))[listed.vocabulary.first_condition :]
    spelled = listed.spelled
    frequency = np.bincount(spelled.codes, minlength=len(spelled.vocabulary))[FIRST_CHARACTER:]
    alphabet = {c: int(n) for c, n in zip(listed.vocabulary.characters, frequency, strict=True)}
    lengths = np.bincount(spelled.lengths)
    return {
        "list": listed.name,
        "sha256": listed.sha256,
        "words": len(listed),
        "distinct": n_distinct,
        "duplicates": len(listed) - n_distinct,
        "leaked": _leaked(listed),
        "dropped": {
            tokens.say(f"longer than {max_length} characters"): listed.dropped.long,
            "holds a line break": listed.dropped.broken,
            "blank": listed.dropped.blank,
            words.UNLIKE_HEADER: listed.dropped.misfit,
            **({words.UNCONDITIONED: listed.dropped.unconditioned} if condition else {}),
        },
        tokens.say("characters"): int(frequency.sum()),
        "unit": tokens.unit,
        "lengths": {int(n): int(lengths[n]) for n in np.flatnonzero(lengths)},
        "alphabet": alphabet,
        "conditions": dict(zip(listed.vocabulary.conditions, conditions.tolist(), strict=True)),
        "in_lower_case": len(set(tokens.split("".join(alphabet).lower()))),
        "seen_once": [c for c, n in alphabet.items() if n == 1],
        "to_beat": _to_beat(listed, condition) if counts else None,
    }


def _leaked(listed: WordList) -> dict[str, Any] | None:
    """Of a tenth of the lines, drawn at random with duplicates kept (protocol article): how many also train?"""
    try:
        parts = words.split(listed, get_protocol("article"))
    except UserError:
        return None
    n = int(np.isin(listed.identities[parts.test], listed.identities[parts.train]).sum())
    return {"test_words": len(parts.test), "also_in_training": n, "share": n / len(parts.test)}


def _to_beat(listed: WordList, condition: str | None) -> dict[str, Any] | None:
    """Test losses of counting (protocol strict): the bigram, and the order that is best on the validation words."""
    protocol = get_protocol("strict", condition)
    try:
        parts = words.split(listed, protocol)
    except UserError:
        return None
    train, validation, test = (Tape.of(listed, p, protocol) for p in (parts.train, parts.validation, parts.test))
    model = fit(train, len(listed.vocabulary))
    best, losses = model.best_order(validation), model.losses(test)
    return {
        "protocol": protocol.name,
        "uniform": float(np.log(len(listed.vocabulary) - 1)),
        "bigram": losses[2],
        "kneser_ney": losses[best],
        "kneser_ney_order": best,
        "by_order": losses,
    }


def show(config: ListConfig, as_json: bool, counts: bool) -> None:
    listed = words.load(config)
    found = survey(listed, config.max_length, counts, config.condition)
    for line in [json.dumps(found, ensure_ascii=False)] if as_json else _told(found):
        print(line)


def visible(character: str) -> str:
    """A symbol as one can read it: combining, invisible and blank characters by code point and name."""
    if len(character) > 1:
        return character
    if unicodedata.category(character)[0] in "LNPS":
        return character
    return f"U+{ord(character):04X} {unicodedata.name(character, '')}".strip()


def _told(s: dict[str, Any]) -> Iterator[str]:
    yield f"{s['list']}: {s['words']:,} words, {s['distinct']:,} distinct, {s['duplicates']:,} repeated"
    if leaked := s["leaked"]:
        yield (
            f"Leak: of a random test split with repeats kept ({leaked['test_words']:,} words), "
            f"{leaked['also_in_training']:,} ({leaked['share']:.1%}) also stand in training; protocol strict has none"
        )
    dropped = ", ".join(f"{n:,} {why}" for why, n in s["dropped"].items() if n)
    yield f"Dropped: {dropped or 'nothing'}"
    yield "Read in Unicode's composed form (NFC), without the blanks around a word"
    yield "Lengths:"
    most = max(s["lengths"].values())
    for length, n in s["lengths"].items():
        yield f"{length:4d} {n:12,} {'#' * round(BAR * n / most)}"
    by_count = sorted(s["alphabet"].items(), key=lambda pair: -pair[1])
    shown = "  ".join(f"{visible(c)} {n:,}" for c, n in by_count[:100])
    more = f"  and {len(by_count) - 100:,} more (--json lists all)" if len(by_count) > 100 else ""
    yield f"Alphabet ({len(by_count):,} {s['unit']}s): {shown}{more}"
    if s["conditions"]:
        yield f"Conditions ({len(s['conditions'])}): " + "  ".join(f"{c} {n:,}" for c, n in s["conditions"].items())
    if (n := s["in_lower_case"]) < len(by_count):
        yield f"In lower case (--lowercase) it would have {n:,} {s['unit']}s: fewer to learn"
    if once := s["seen_once"]:
        yield f"Seen once ({len(once):,}): " + "  ".join(map(visible, once[:50])) + ("  ..." if len(once) > 50 else "")
    if beat := s["to_beat"]:
        yield (
            f"To beat (protocol {beat['protocol']}, test, nats a {s['unit']}): uniform {beat['uniform']:.4f}, bigram "
            f"{beat['bigram']:.4f}, Kneser-Ney of order {beat['kneser_ney_order']} {beat['kneser_ney']:.4f}"
        )
    else:
        yield "To beat: not counted, or too few distinct words to hold some out"
