"""The command. Help answers without torch: what is heavy is imported where it is used."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from rungwise.config import UserError


@dataclass
class ClimbCommand:
    """Climb the ladder: train every rung with several seeds, and print what each is worth.

    Leaves results.jsonl, and a run directory for every rung and seed. The same command goes on where it was stopped.
    """

    data: str = "auto"
    """Word list: a file, - (standard input), given-names, names (the article's), or auto (names if it can be had)."""
    rungs: str = "article"
    """Rungs by name, comma-separated, or a set: article, scaling, all, confounds, ablations, everything."""
    seeds: int = 3
    """Seeds 0 to N-1, each with its own initialisation, batches and dropout."""
    steps: int | None = None
    """Training steps, instead of each rung's own (5,000 for the article's eight)."""
    protocol: str | None = None
    """What is scored on which words: article (default), makemore or strict (default with --tune)."""
    out: Path | None = None
    """Directory for results (default: runs/DATA-PROTOCOL)."""
    ablate: bool = False
    """Also take each part away from the full model, and show both ways side by side."""
    tune: bool = False
    """Give every rung the best of a small grid of learning rates, chosen on validation words."""
    engine: str = "auto"
    """auto, native (C++, needs a compiler) or torch."""
    processes: int | None = None
    """Worker processes (default: one a core)."""
    json: bool = False
    """Print the results as JSON lines on standard output, everything else on standard error."""

    def run(self) -> None:
        from rungwise.lab.show import Request, climb

        climb(Request(**dataclasses.asdict(self)))


@dataclass
class TrainCommand:
    """Train one model on a list of words (default: the article's final recipe, scored strictly)."""

    data: str = "auto"
    """Word list: a file, - (standard input), given-names, names (the article's), or auto (names if it can be had)."""
    out: Path = Path("runs/model")
    """Directory for the run: config.json, vocabulary.json, model.safetensors, metrics.jsonl, samples.txt."""
    rung: str = "final"
    """The rung whose model and training are taken."""
    steps: int | None = None
    """Training steps, instead of the rung's own."""
    seed: int = 0
    """Fixes initialisation, batches and dropout."""
    protocol: str = "strict"
    """What is scored on which words: article, makemore or strict."""
    engine: str = "auto"
    """auto, native (C++, needs a compiler) or torch."""

    def run(self) -> None:
        from rungwise.practice import train_list

        train_list(self.data, self.out, self.rung, self.steps, self.seed, self.protocol, self.engine)


@dataclass
class SampleCommand:
    """Print words from a trained model, one a line, on standard output.

    A model trained without a start token (protocol article) never predicts a first character: it is drawn from the
    training words' own first characters.
    """

    run_dir: tyro.conf.Positional[Path]
    """Directory that `rungwise train` or `rungwise climb` (RUNG/seed-N) wrote."""
    n: Annotated[int, tyro.conf.arg(aliases=["-n"])] = 20
    """How many."""
    temperature: float = 1.0
    """Below 1: safer words; above: wilder; 0: the one most probable word."""
    top_k: int = 0
    """Draw from the k most probable characters only (0: all)."""
    top_p: float = 1.0
    """Draw from the most probable characters that together hold this much probability."""
    prefix: str = ""
    """What every word begins with."""
    max_length: int | None = None
    """Words end here at the latest."""
    seed: int = 0
    """The same seed draws the same words."""

    def run(self) -> None:
        from rungwise.practice import sample_run

        sample_run(
            self.run_dir, self.n, self.temperature, self.top_k, self.top_p, self.prefix, self.max_length, self.seed
        )


@dataclass
class ReportCommand:
    """Write report.md and report.html, one self-contained page, from what climbs measured.

    Of several climbs, one a protocol, it makes one report, whose verdicts draw on all.
    """

    paths: tyro.conf.Positional[tuple[Path, ...]]
    """Directories that `rungwise climb` wrote, or their results.jsonl."""
    out: Path | None = None
    """Directory for the report (default: beside the first results)."""
    peers: Path | None = None
    """Measured figures of other projects (default: peers.json beside the results, or one level up)."""

    def run(self) -> None:
        from rungwise.lab.report import write

        if not self.paths:
            raise UserError("Nothing to report on; give a climb's directory, such as runs/names-article.")
        for path in write(self.paths, self.out, self.peers):
            print(f"Wrote {path}")


@dataclass
class LadderCommand:
    """List the rungs: what each changes, and why."""

    def run(self) -> None:
        from rungwise.lab.show import ladder

        ladder()


@dataclass
class PlayCommand:
    """Look inside: write one HTML page with the trained models in it, which works from disk, without network."""

    runs: tyro.conf.Positional[tuple[Path, ...]] = ()
    """A climb's directory, or single runs (default: the latest climb under runs/)."""
    out: Path | None = None
    """The page (default: play.html in the first directory)."""
    data: str | None = None
    """The list of these runs, where it is a file (tells new words from training words)."""
    seed: int = 0
    """Which seed of a climb to show; where a rung lacks it, its first."""
    precision: Literal["float16", "float32"] = "float16"
    """Of the weights in the page; float32 doubles its size."""
    chapters: str | None = None
    """Where the chapters of docs/rungs/ can be read: every rung then links to its own."""
    serve: bool = False
    """Show the page on 127.0.0.1, too."""
    port: int = 8000
    """Where to serve it (0: any free port)."""

    def run(self) -> None:
        from rungwise.play.page import play

        play(self.runs, self.out, self.data, self.seed, self.precision, self.chapters, self.serve, self.port)


COMMANDS = {
    "climb": ClimbCommand,
    "train": TrainCommand,
    "sample": SampleCommand,
    "report": ReportCommand,
    "ladder": LadderCommand,
    "play": PlayCommand,
}
DESCRIPTION = """From one attention head to a full transformer, one measured rung at a time, on any list of words.

Start with: rungwise climb"""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command. A UserError is one line on standard error and exit status 2."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    try:
        command = tyro.extras.subcommand_cli_from_dict(
            COMMANDS, prog="rungwise", description=DESCRIPTION, args=arguments or ["--help"]
        )
        command.run()
    except UserError as error:
        print(f"rungwise: error: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("\nrungwise: stopped; what is done is kept.", file=sys.stderr)
        sys.exit(130)
    except BrokenPipeError:  # the reader of our output (head, say) has enough
        sys.stderr.close()
        sys.exit(0)
