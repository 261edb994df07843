"""A report on one run of `rungwise train`: how good it is beside counting, its curve, its words. No torch here."""

import json
from dataclasses import fields
from math import exp
from pathlib import Path
from typing import Any

from rungwise.data.tokens import Tokens
from rungwise.judge.figures import Brief
from rungwise.report import plots
from rungwise.report.document import Block, Facts, Paragraph, Section, Words
from rungwise.report.plots import Line
from rungwise.training import outcome, run_dir
from rungwise.util import hints


def sections(folder: Path) -> list[Section]:
    configs = run_dir.load_config(folder)
    tokens = run_dir.load_vocabulary(folder, configs.model.vocab_size)[0].tokens
    lines = run_dir.read_metrics(folder)
    final: dict[str, Any] = next((line for line in lines if "final_test_loss" in line), {})
    path = folder / run_dir.SAMPLES
    samples = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    facts = {"list": configs.info.get("data"), "protocol": configs.protocol.name, **configs.info.get("versions", {})}
    settings = {**configs.model.to_dict(), **configs.train.to_dict()}
    how = [Facts([(k, str(v)) for k, v in facts.items()]), Facts([(k, json.dumps(v)) for k, v in settings.items()])]
    answer = [*_headline(final, folder, tokens), *_curve(lines, tokens)]
    found = [
        Section("top", f"A model of {configs.info.get('data')}", answer, level=1),
        Section("settings", "How it was trained", how),
    ]
    if samples:
        words = Words("Words drawn at temperature 1, not chosen.", [("this model", [(word, "") for word in samples])])
        found.insert(1, Section("words", "What it writes", [words]))
    return found


def _headline(final: dict[str, Any], folder: Path, tokens: Tokens) -> list[Block]:
    if not final:
        return [Paragraph(f"Training was stopped before its end. {hints.go_on(folder)}")]
    loss = final["final_test_loss"]
    text = f"Its test loss is {loss:.3f} nats a {tokens.unit}: as good as a guess among {exp(loss):.1f} {tokens.unit}s."
    if (counting := final.get("ngram_test_loss")) is not None:
        better = "better" if loss < counting else "worse"
        text += (
            f" Counting letters (a {final['ngram_order']}-gram, no network) has {counting:.3f} on the same words: the "
            f"model is {better} by {abs(counting - loss):.3f}."
        )
    train = final.get("final_train_loss")
    if train is not None:
        text += f" On training words the loss is {train:.3f}."
    judged: dict[str, Any] = {f.name: final[f"words_{f.name}"] for f in fields(Brief) if f"words_{f.name}" in final}
    like = [Paragraph(outcome.words(Brief(**judged)))] if judged else []
    return [Paragraph(text), *like, Paragraph(f"More words: {hints.command('sample', folder)}", quiet=True)]


def _curve(lines: list[dict[str, Any]], tokens: Tokens) -> list[Block]:
    drawn = []
    for key, title in (("train_loss", "training"), ("val_loss", "validation")):
        points = [(line["step"], line[key]) for line in lines if key in line]
        if len(points) > 2:
            steps, losses = zip(*points, strict=True)
            drawn.append(Line(title, steps, losses))
    if not drawn:
        return []
    caption = "Training: mean of the batches since the point before. Validation: words that are held out."
    return [plots.lines("curve", "Loss by step", caption, [("step", drawn)], f"loss, nats a {tokens.unit}")]
