"""Words that a run draws as it trains, so that one sees spelling emerge: snapshots.jsonl."""

from rungwise.config import WordStart
from rungwise.data.dataset import Dataset
from rungwise.engine.loop import models
from rungwise.inference.sample import generate
from rungwise.training.run_dir import SNAPSHOTS
from rungwise.training.trainer import Event, Trainer
from rungwise.util.files import append_line, numbered_lines, write_lines

N_WORDS = 10


class Snapshots:
    """An observer: the same draw at the beginning and at each evaluation."""

    def __init__(self, trainer: Trainer, dataset: Dataset, start: WordStart) -> None:
        """What an earlier process wrote after its checkpoint is drawn again."""
        self.trainer, self.vocabulary = trainer, dataset.vocabulary
        self.firsts = None if start.end_fed else dataset.firsts
        self.path = trainer.folder / SNAPSHOTS
        before = [line for _, line in numbered_lines(self.path)] if self.path.exists() else []
        kept = [line for line in before if line["step"] <= trainer.state.step]
        write_lines(self.path, kept)
        if not kept:
            self._draw(0)

    def __call__(self, event: Event) -> None:
        if event.kind == "evaluation":
            self._draw(event.step)

    def _draw(self, step: int) -> None:
        model = models(self.trainer.engine, self.trainer.setup.configs.model, 1)[0]
        drawn = generate(model, self.vocabulary, N_WORDS, self.firsts, seed=self.trainer.run.seed)
        append_line(self.path, {"step": step, "samples": [word.text for word in drawn]})
