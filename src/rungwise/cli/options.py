"""The command line as data: a dataclass a command, its fields the flags, the line under each its help. No torch."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from tyro.conf import OmitArgPrefixes, Positional, arg

from rungwise.cli.flags import flags
from rungwise.config.settings import KINDS

if TYPE_CHECKING:
    ListFlags = RunFlags = ModelFlags = TrainFlags = Any
else:  # made from the dataclasses of config.py
    ListFlags, RunFlags, ModelFlags, TrainFlags = map(flags, KINDS)


@dataclass
class ClimbCommand:
    """Climb the ladder: train every rung with several seeds, and print what each is worth.

    Leaves results.jsonl, and a run directory for every rung and seed. The same command goes on where it was stopped.
    """

    data: str = "auto"
    """Word list: a file, - (standard input), given-names, names (the article's), or auto (names if it can be had)."""
    rungs: str = "article"
    """Rungs by name, comma-separated, or a set: article, scaling, all, beyond, confounds, ablations, everything."""
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
    device: str = "auto"
    """Of engine torch: auto (a GPU where torch has one), cpu or cuda."""
    precision: str = "fp32"
    """Of engine torch's matrix products: fp32 or bf16."""
    compile: str = "auto"
    """torch.compile for engine torch: on, off, or auto, where a rung's steps earn the warm-up back."""
    processes: int | None = None
    """Worker processes (default: one a core)."""
    on: Literal["local", "ray"] = "local"
    """Where the work is done: processes of this machine, or an existing Ray cluster (as many tasks as it has CPUs)."""
    address: str | None = None
    """Of the Ray cluster: auto (default), HOST:PORT or ray://HOST:PORT."""
    snapshots: bool = False
    """Keep words drawn at steps 0, 1, 2, 5, 10, ...: the page that looks inside shows spelling emerge."""
    json: bool = False
    """Print the results as JSON lines on standard output, everything else on standard error."""


@dataclass
class TrainCommand:
    """Train one model on a list of words: the article's final recipe, scored strictly, unless flags say otherwise.

    Ctrl-C saves; `rungwise train --out DIR --resume` goes on. Unset flags follow --config, then --rung.
    One large model over several processes: torchrun --standalone --nproc-per-node=2 -m rungwise train ...
    """

    out: Path = Path("runs/model")
    """Directory for the run: config.json, vocabulary.json, model.safetensors, metrics.jsonl, samples.txt, ..."""
    config: Path | None = None
    """A JSON or TOML file of the fields below (a run's config.json, too); flags override it."""
    resume: bool = False
    """Go on with the run in --out, where it was stopped; everything else is read from there."""
    tensorboard: bool = False
    """Write TensorBoard events to OUT/tensorboard (needs the package tensorboard)."""
    trackio: bool = False
    """Track the run with trackio in OUT/trackio, offline (needs the package trackio). To look:
    TRACKIO_DIR=OUT/trackio trackio show"""
    list: OmitArgPrefixes[ListFlags] = field(default_factory=ListFlags)
    run_: Annotated[OmitArgPrefixes[RunFlags], arg(name="run")] = field(default_factory=RunFlags)
    model: OmitArgPrefixes[ModelFlags] = field(default_factory=ModelFlags)
    training: OmitArgPrefixes[TrainFlags] = field(default_factory=TrainFlags)


@dataclass
class SampleCommand:
    """Print words from a trained model, one a line, on standard output.

    A model trained on words without a start token (protocol article) never predicts a first character: it is drawn
    from the training words' own first characters.
    """

    run_dir: Positional[Path]
    """Directory that `rungwise train` or `rungwise climb` (RUNG/seed-N) wrote."""
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
    max_length: int | None = None
    """Words end here at the latest."""
    seed: int = 0
    """The same seed draws the same words, however many."""
    unique: bool = False
    """No word twice."""
    new_only: bool = False
    """No word of the list that the model was made for. (It is known by 64-bit hashes: a new word is taken for a
    listed one with probability n / 2^64, below 1e-12 for ten million words.)"""
    json: bool = False
    """A JSON object a line: word, log_likelihood (nats, of the whole word), new."""
    weights: Literal["best", "last"] = "best"
    """The best on the validation words, or the last that training reached."""


@dataclass
class EvalCommand:
    """Tell how well a trained model predicts a list: nats and bits a character, perplexity, accuracy, extremes.

    Words with characters outside the model's alphabet cannot be scored: they are counted, and told.
    """

    run_dir: Positional[Path]
    """Directory that `rungwise train` or `rungwise climb` (RUNG/seed-N) wrote."""
    list: Positional[str]
    """A file, - (standard input), given-names, names or auto."""
    words: bool = False
    """A line a word (nats, nats a character, word) on standard output, and the summary on standard error."""
    json: bool = False
    """JSON instead of text."""
    weights: Literal["best", "last"] = "best"
    """The best on the validation words, or the last that training reached."""
    encoding: str = "utf-8"
    """Of the file."""
    column: str | None = None
    """Take the words from this column of a CSV, TSV or Parquet file."""
    max_length: int = 64
    """Longer words are dropped, and counted."""


@dataclass
class DataCommand:
    """Tell what a list holds: repeats and how many would leak, lengths, alphabet, what is dropped, losses to beat."""

    list: Positional[str] = "auto"
    """A file, - (standard input), given-names, names or auto."""
    json: bool = False
    """One JSON object instead of text."""
    counts: bool = True
    """Count the losses to beat: bigram and Kneser-Ney, protocol strict (a minute or so for millions of words)."""
    encoding: str = "utf-8"
    """Of the file."""
    column: str | None = None
    """Take the words from this column of a CSV, TSV or Parquet file."""
    max_length: int = 64
    """Longer words are dropped, and counted."""


@dataclass
class ReportCommand:
    """Write report.md and report.html, one self-contained page, from what climbs measured.

    Of several climbs, one a protocol, it makes one report, whose verdicts draw on all.
    """

    paths: Positional[tuple[Path, ...]]
    """Directories that `rungwise climb` wrote, or their results.jsonl."""
    out: Path | None = None
    """Directory for the report (default: beside the first results)."""
    peers: Path | None = None
    """Measured figures of other projects (default: peers.json beside the results, or one level up)."""


@dataclass
class LadderCommand:
    """List the rungs: what each changes, and why."""


@dataclass
class PlayCommand:
    """Look inside: write one HTML page with the trained models in it, which works from disk, without network."""

    runs: Positional[tuple[Path, ...]] = ()
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
    """Where the chapters of docs/rungs/ can be read, as `make docs` builds them: every rung then links to its own."""
    serve: bool = False
    """Show the page on 127.0.0.1, too."""
    port: int = 8000
    """Where to serve it (0: any free port)."""


@dataclass
class ExportCommand:
    """Write a trained model in another format, with a model card, checked by that format's own library.

    Its best weights are taken. hf takes the models that GPT-NeoX's, GPT-2's or Llama's class holds exactly; of any
    other it says what does not fit, and what to train instead.
    """

    run_dir: Positional[Path]
    """Directory that `rungwise train` or `rungwise climb` (RUNG/seed-N) wrote."""
    format: Literal["onnx", "hf"]
    """onnx: one file for any ONNX runtime; hf: a directory for transformers' AutoModelForCausalLM and AutoTokenizer."""
    out: Path | None = None
    """Directory to write to (default: RUN_DIR/onnx or RUN_DIR/hf)."""


@dataclass
class BenchCommand:
    """Measure how fast training and sampling are here, how near the machine's limits, and beside other projects.

    Under two minutes by itself; other projects' own programs take half a minute a round.
    """

    rounds: int = 5
    """Every round measures everything; medians and their spread are told."""
    short: bool = False
    """One round, a few steps of everything: does it work? The numbers mean nothing."""
    makemore: Path | None = None
    """A checkout of karpathy/makemore, to run beside."""
    microgpt_c: Path | None = None
    """A checkout of enjector/microgpt-c, to build (aside; needs cmake) and run beside."""
    full: bool = False
    """Run the climb, and makemore's 5,000 steps, to their ends, instead of reckoning them from fewer steps."""
    data: str = "auto"
    """Word list: a file, given-names, names (the article's), or auto (names if it can be had)."""
    engine: str = "auto"
    """auto, native (C++, needs a compiler) or torch."""
    json: bool = False
    """Print JSON instead."""
    out: Path | None = None
    """Write the JSON here, too."""
