"""The command line as data: a dataclass a command, its fields the flags, the line under each its help. No torch.

A paragraph of help fits 80 columns: terminals break longer ones inside words."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from tyro.conf import OmitArgPrefixes, Positional, arg

from rungwise.cli.flags import default, flags
from rungwise.config.settings import KINDS

if TYPE_CHECKING:
    ListFlags = RunFlags = ModelFlags = TrainFlags = Any
else:  # made from the dataclasses of rungwise.config
    ListFlags, RunFlags, ModelFlags, TrainFlags = map(flags, KINDS)


@dataclass(kw_only=True)
class OfList:
    """Options of commands that read a list of words."""

    encoding: str = "utf-8"
    """Of the file."""
    column: str | None = None
    """Take the words from this column of a CSV, TSV or Parquet file."""
    max_length: int = 64
    """Longer words are dropped; their number is reported."""
    lowercase: bool = False
    """Read every word in lower case: fewer characters to learn."""


@dataclass(kw_only=True)
class OfNewList(OfList):
    """Options of commands that no model tells what a symbol is."""

    tokens: str = "chars"
    """One symbol: chars, graphemes (what a reader takes for a character), or a file with a token a line."""
    condition: str | None = None
    """What every word is given: this column's value in its row (gender, language, ...); needs --column."""


@dataclass
class ClimbCommand(OfNewList):
    """Climb the ladder: train every rung with several seeds, and compare them.

    Leaves results.jsonl, and a run directory for each rung and seed.

    The same command goes on with a climb that was stopped.
    """

    data: str = "auto"
    """Word list: a file, - (standard input), given-names, names (the article's), or auto (names if it can be had)."""
    rungs: str = "article"
    """Rungs by name, comma-separated, or a set: article, scaling, all, beyond, confounds, ablations, families,
    everything."""
    ladder: Path | None = None
    """A TOML file of rungs of your own, [[rung]], and of questions, [[question]]; measured instead of article's."""
    seeds: int = 3
    """Seeds of each split, every one with its own initialisation, batches and dropout."""
    splits: int = 1
    """Ways to split the list. With several, intervals cover what another split would change, too."""
    until: Literal["done", "settled"] = "done"
    """settled: add splits, --splits at most, until each question is answered; else the ladder's steps are asked."""
    margin: float = 0.01
    """Of --until settled: what is less, in nats a character, makes no difference. A question's own goes first."""
    error: float = 0.05
    """Of --until settled: probability that any of its answers is wrong, however often one looks."""
    split_seed: int = 0
    """Of the first split; the others count on from it."""
    steps: int | None = None
    """Training steps, instead of each rung's own (5,000 for the article's eight)."""
    protocol: Annotated[str | None, default("article; with --tune, strict")] = None
    """What is scored on which words: article, makemore or strict."""
    out: Annotated[Path | None, default("runs/DATA-PROTOCOL")] = None
    """Directory for results."""
    ablate: bool = False
    """Also measure the full model without each of its parts."""
    tune: bool = False
    """Give every rung the best of a small grid of learning rates, chosen on validation words."""
    engine: str = "auto"
    """auto, native (C++, needs a compiler) or torch."""
    device: str = "auto"
    """Of engine torch: auto (a GPU where torch has one), cpu or cuda."""
    precision: str = "fp32"
    """Of engine torch's matrix products: fp32 or bf16."""
    compile: str = "auto"
    """torch.compile for engine torch: on, off, or auto, where a rung's steps earn the warm-up back."""
    processes: Annotated[int | None, default("one a core")] = None
    """Worker processes."""
    on: Literal["local", "ray"] = "local"
    """Where the work is done: processes of this machine, or an existing Ray cluster (as many tasks as it has CPUs)."""
    address: Annotated[str | None, default("auto")] = None
    """Of the Ray cluster: auto, HOST:PORT or ray://HOST:PORT."""
    snapshots: bool = True
    """Keep words that each rung's first seed draws at steps 0, 1, 2, 5, 10, ..., for the page's Train view."""
    json: bool = False
    """Print the results as JSON lines on standard output, everything else on standard error."""


@dataclass
class TrainCommand:
    """Train one model on a list of words.

    Without flags of the model or the training: a recipe for the list's size.

    --budget 10m fits one into the time.

    Unset flags follow --config, then --rung, then the article's final recipe.

    Ctrl-C saves; `rungwise train --out DIR --resume` goes on.

    One large model on several processes:
      torchrun --standalone --nproc-per-node=2 -m rungwise train ...
    """

    out: Path = Path("runs/model")
    """Directory for the run: config.json, vocabulary.json, model.safetensors, metrics.jsonl, samples.txt, ..."""
    config: Path | None = None
    """A JSON or TOML file of the fields below (a run's config.json, too); flags override it."""
    resume: bool = False
    """Go on with the run in --out, where it was stopped; everything else is read from there."""
    ensemble: int = 1
    """So many runs, of the seeds --seed, --seed + 1, ..., side by side on the cores, into OUT/seed-N."""
    distill: bool = False
    """Instead of --ensemble's runs, one model in OUT that learns from so many teachers: the same as --teachers."""
    tensorboard: bool = False
    """Write TensorBoard events to OUT/tensorboard (needs the package tensorboard)."""
    trackio: bool = False
    """Track the run with trackio in OUT/trackio (needs the package trackio): TRACKIO_DIR=OUT/trackio trackio show"""
    list: OmitArgPrefixes[ListFlags] = field(default_factory=ListFlags)
    run_: Annotated[OmitArgPrefixes[RunFlags], arg(name="run")] = field(default_factory=RunFlags)
    model: OmitArgPrefixes[ModelFlags] = field(default_factory=ModelFlags)
    training: OmitArgPrefixes[TrainFlags] = field(default_factory=TrainFlags)


@dataclass(kw_only=True)
class OfRun:
    """Options of commands that read a run directory."""

    run_dir: Positional[Path]
    """Directory that `rungwise train` or `rungwise climb` (RUNG/seed-N) wrote; of an ensemble: the mean of its runs."""
    weights: Literal["best", "last"] = "best"
    """The best on the validation words, or the last that training reached."""
    mix: tuple[Path, ...] = ()
    """More runs of the same list: the mean of their distributions is taken."""
    ngram: bool = False
    """Mix with an n-gram model of the run's list, too; its share is chosen on the validation words."""


@dataclass
class SampleCommand(OfRun):
    """Print words from a trained model, one a line, on standard output.

    Models of protocol article do not predict first characters.

    Theirs are drawn as often as they begin training words.
    """

    n: Annotated[int, arg(aliases=["-n"])] = 20
    """How many."""
    temperature: float = 1.0
    """Below 1: safer words; above: wilder; 0: the one most probable word."""
    top_k: int = 0
    """Draw from the k most probable characters only (0: all)."""
    top_p: float = 1.0
    """Draw from the most probable characters that together hold this much probability."""
    prefix: str = ""
    """What every word begins with."""
    given: str | None = None
    """What every word is given, by a model that was trained with --condition; unset: as often as in training."""
    max_length: int | None = None
    """Words end here at the latest."""
    seed: int = 0
    """The same seed draws the same words, however many."""
    unique: bool = False
    """No word twice."""
    new_only: bool = False
    """No word of its list (kept as 64-bit hashes: of n words, a new one is taken for listed in n of 2^64 cases)."""
    top: int = 0
    """Print the so many most probable words in order, instead of drawing (0: draw)."""
    suffix: str = ""
    """What every word ends with."""
    contains: str = ""
    """What every word has in it."""
    pattern: str | None = None
    """A regular expression that every word matches as a whole (needs interegular)."""
    length: str | None = None
    """Characters of a word, whatever its --tokens are: 5, or 4-8."""
    exclude: Path | None = None
    """A list of words that are not wanted."""
    unlike: Path | None = None
    """A list that words keep away from, by --edits (needs RapidFuzz)."""
    edits: int = 2
    """Fewest edits (letters changed, added or left out) from any word of --unlike."""
    like_lengths: Path | None = None
    """A list: words are as long as its words are, and each length comes as often."""
    json: bool = False
    """A JSON object a line: word, log_likelihood (nats, of the whole word), new."""


@dataclass
class EvalCommand(OfList, OfRun):
    """Measure how well a trained model predicts a list of words.

    Prints nats and bits a character, perplexity, accuracy, and extreme words.

    Words with characters outside the model's alphabet are not scored.
    """

    list: Positional[str]
    """A file, - (standard input), given-names, names or auto."""
    words: bool = False
    """A line a word (nats, nats a character, word) on standard output, and the summary on standard error."""
    guess_number: bool = False
    """Also estimate how many guesses each word needs, the model's most probable words tried first."""
    json: bool = False
    """JSON instead of text."""


@dataclass
class DataCommand(OfNewList):
    """Describe a list of words: repeats, lengths, alphabet, losses to beat.

    Also what is dropped, and how many test words would be in training, too.
    """

    list: Positional[str] = "auto"
    """A file, - (standard input), given-names, names or auto."""
    json: bool = False
    """One JSON object instead of text."""
    counts: bool = True
    """Fit n-gram baselines, the losses to beat, under protocol strict (a minute or so for millions of words)."""


@dataclass
class JudgeCommand(OfNewList):
    """Judge generated words, whoever generated them: new, varied, like the list?

    Beside each figure stands the same of real held-out words.

    That is what a perfect generator would get.
    """

    list: Positional[str]
    """The list that the words should be like: a file, - (standard input), given-names, names or auto."""
    samples: Positional[str]
    """Generated words, one a line, repeats included: a file, or - (standard input)."""
    protocol: str = "strict"
    """How LIST is divided into training and held-out words: as `rungwise train` with this protocol divides it."""
    valid: str | None = None
    """A rule for words: regex:PATTERN (the whole word), python:MODULE.FUNCTION (imported, and run on every word of
    LIST and SAMPLES: true or false), or smiles (molecules; adds the figures of MOSES; needs RDKit)."""
    seed: int = 0
    """Of what is drawn at random: words to compare, and the bootstrap."""
    out: Path | None = None
    """Write the figures as a page (HTML) with plots to this file."""
    json: bool = False
    """One JSON object instead of text."""


@dataclass
class ReportCommand:
    """Write report.md and report.html, one self-contained page, of climbs.

    Several climbs, one for each protocol, make one report.

    Of a run of rungwise train: how good it is beside counting, and its words.
    """

    paths: Annotated[Positional[tuple[Path, ...]], default("the latest climb under runs/")] = ()
    """Directories that `rungwise climb` wrote, or their results.jsonl; or one run's."""
    out: Annotated[Path | None, default("that of the first results")] = None
    """Directory for the report."""
    peers: Annotated[Path | None, default("peers.json in the directory of the results, or one level up")] = None
    """Measured figures of other projects."""


@dataclass
class LadderCommand:
    """List the rungs: what each changes, and why."""


@dataclass
class PlayCommand:
    """Write one HTML page that shows trained models from the inside.

    It works from disk, without network.
    """

    runs: Annotated[Positional[tuple[Path, ...]], default("the latest climb under runs/")] = ()
    """A climb's directory, or single runs."""
    out: Annotated[Path | None, default("play.html in the first directory")] = None
    """The page."""
    data: str | None = None
    """The list of these runs, where it is a file (to mark words of training, and new ones)."""
    seed: int = 0
    """Which seed of a climb to show; where a rung lacks it, its first."""
    precision: Literal["float16", "float32"] = "float16"
    """Of the weights in the page; float32 doubles its size."""
    empty: bool = False
    """A page without any model, with the bundled list inside: who opens it trains the ladder there."""
    chapters: str | None = None
    """Address of the chapters of docs/rungs/, as `make docs` builds them: each rung links to its chapter."""
    serve: bool = False
    """Show the page on 127.0.0.1, too."""
    port: int = 8000
    """Where to serve it (0: any free port)."""


@dataclass
class ExportCommand:
    """Write the best weights of a run in another format, with a model card.

    The format's own library checks what was written.

    hf takes models that GPT-NeoX's, GPT-2's or Llama's class holds exactly.

    Of other models it says what does not fit, and what to train instead.
    """

    run_dir: Positional[Path]
    """Directory that `rungwise train` or `rungwise climb` (RUNG/seed-N) wrote."""
    format: Literal["onnx", "hf"]
    """onnx: one file for any ONNX runtime; hf: a directory for transformers' AutoModelForCausalLM and AutoTokenizer."""
    out: Annotated[Path | None, default("RUN_DIR/onnx or RUN_DIR/hf")] = None
    """Directory to write to."""
    ngram: bool = False
    """Not for export: a mixture with an n-gram model is no single model. The message says what is."""


@dataclass
class BenchCommand:
    """Measure the speed of training and sampling, and the machine's limits.

    Under two minutes by itself; other projects take half a minute a round.
    """

    rounds: int = 5
    """Every round measures everything; medians and their spread are reported."""
    short: bool = False
    """One round, a few steps of everything: does it work? The numbers mean nothing."""
    makemore: Path | None = None
    """A checkout of karpathy/makemore, to compare with."""
    microgpt_c: Path | None = None
    """A checkout of enjector/microgpt-c, to build (in a temporary folder; needs cmake) and compare with."""
    eemicrogpt: tuple[Path, ...] = ()
    """Programs that you have built of Entrpi/eemicrogpt, one for each size, to compare with."""
    browser: bool = False
    """Measure training in a page instead, in Chromium, beside the native engine (needs playwright)."""
    full: bool = False
    """Run the climb, and makemore's 5,000 steps, to their ends, instead of estimating them from fewer steps."""
    data: str = "auto"
    """Word list: a file, given-names, names (the article's), or auto (names if it can be had)."""
    engine: str = "auto"
    """auto, native (C++, needs a compiler) or torch."""
    json: bool = False
    """Print JSON instead."""
    out: Path | None = None
    """Write the JSON here, too."""
