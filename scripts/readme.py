"""What the README quotes from results/: its table, its surprises, its words and its speed."""

from __future__ import annotations

from rungwise.analysis.evidence import Measured
from rungwise.analysis.stats import Difference, paired, summary
from rungwise.analysis.tables import rows, show, worth
from rungwise.analysis.thresholds import NEGLIGIBLE
from rungwise.experiment import baselines
from rungwise.experiment.results import by_rung, paired_losses
from rungwise.ladder import select
from rungwise.report.figures import part_steps, worths
from rungwise.util.files import read_json
from rungwise.util.progress import duration
from scripts import common, real_lists
from scripts.first_minutes import FILE as FIRST_MINUTES

MEANING = {
    "baseline": "One head of attention: each place looks back once",
    "double-embd": "Twice as many numbers for each letter",
    "2-heads": "Two places to look at, and a layer that mixes what they saw",
    "4-layers": "Looking back at what was seen when looking back",
    "mlp": "Computing with what was seen",
    "layernorm": "Keeping the numbers in an even range",
    "rope": "Knowing how far back something was seen",
    "gelu": "A smooth switch instead of a hard one",
}
LISTS = {"names": "First names", "english": "English words", "ukrainian": "Ukrainian words"}
N_WORDS = 7


def mean_over(measured: Measured) -> str:
    """How many splits or seeds a mean of the article's rungs is over."""
    n = len(measured.combine(dict.fromkeys((rung.name for rung in select("article")), 0)))
    more = ", each with its own split of the words and its own seed" if measured.counted == "splits" else ""
    return f"over {n} {measured.counted} ± 95 % CI{more}"


def ladder(measured: Measured) -> str:
    """The article's eight rungs, for somebody who reads one table."""
    columns = {"part": "---", "what it adds": "---", "loss": "--:", "change": "--:", "in words": "---"}
    columns["taken out at the end"] = "--:"
    taken = {step.name: worths(measured)[part][0] for part, step in part_steps().items() if part in worths(measured)}
    cells = [
        (
            row.rung.title,
            MEANING[row.rung.name],
            show(row.test),
            show(row.step, signed=True),
            worth(row.step),
            show(taken.get(row.rung.name), signed=True),
        )
        for row in rows(select("article"), measured.results)
    ]
    return common.table(columns, cells) + (
        f"\nTest loss in nats a character (lower is better; a uniform guess is 3.30), and its change from the rung "
        f"below. Last column: how much worse the last model is without that part alone; order matters. Mean "
        f"{mean_over(measured)}. List names, protocol article, 5,000 steps.\n"
    )


def surprises(measured: Measured) -> str:
    """Three findings that one does not expect. A result that no longer shows one stops the generator."""
    groups = by_rung(measured.results)

    def step(name: str, below: str) -> Difference:
        return paired(*paired_losses(groups[below], groups[name]))

    counted_on = measured.splits[0]  # where the n-grams were counted, too

    def there(name: str) -> float:
        return summary([r.test_loss for r in groups[name] if r.split_seed == counted_on]).mean

    best = min(there(rung.name) for rung in select("article"))
    counting = min(order["test_loss"] for order in baselines.read(common.RESULTS / "names-article").values())
    norm, mlp = step("layernorm", "mlp"), step("mlp", "4-layers")
    published = {rung.name: rung.published.test for rung in select("article") if rung.published}
    reported = published["mlp"] - published["4-layers"]
    for claim, true in (
        ("counting beats all eight rungs", counting < best),
        ("the longest training passes it", there("final") < counting),
        ("LayerNorm gains nothing measurable", norm.low < 0 < norm.high or abs(norm.mean) < NEGLIGIBLE),
        ("the MLP gains far more than reported", mlp.high < 2 * reported),
    ):
        if not true:
            raise ValueError(f"The README says that {claim}; the results do not.")
    return (
        "1. **Counting beats all eight rungs.** An n-gram model (it counts which letters follow which; no network) "
        f"has a test loss of {counting:.3f}; on the same split, the best of the eight has {best:.3f}. A larger model, "
        "trained longer, passes it.\n"
        f"2. **LayerNorm gains nothing measurable** at the learning rate of these rungs: {show(norm, signed=True)}.\n"
        f"3. **The MLP gains {mlp.mean / reported:.1f} times what was reported**: {show(mlp, signed=True)}, where one "
        f"run without repeats had shown {reported:+.2f}.\n".replace("+-", "-")
    )


def words() -> str:
    """Generated words of three lists; none of them is in its list."""
    kept = read_json(real_lists.FILE)
    return "".join(
        f"- {title}: {', '.join(f'*{word}*' for word in kept[name]['samples'][: N_WORDS - (name == 'ukrainian')])}\n"
        for name, title in LISTS.items()
    )


def doors() -> dict[str, str]:
    """How long the three commands take, as scripts/first_minutes.py measured them in a fresh clone."""
    found = read_json(FIRST_MINUTES)
    seconds, on = found["seconds"], f"on {found['cores']} cores"

    def took(begin: str) -> str:
        return duration(next(value for command, value in seconds.items() if command.startswith(begin)))

    size, trained = found["list_words"], "rungwise train"
    return {
        "door-page": f"It took {took('make page')}, installation included, {on}. Nothing leaves the page.\n",
        "door-climb": f"It took {took('make climb')} {on} with a C++ compiler.\n",
        "door-train": f"It took {took(f'.venv/bin/{trained}')} for {size:,} words, {on}.\n",
    }


def speed() -> str:
    """How much faster than others, from the committed benchmark."""
    bench = read_json(common.PERFORMANCE / "bench.json")
    return (
        f"Training one model of makemore's default size takes 1/{bench['train_ratio_makemore_one_seed']:.0f} of "
        f"makemore's own time on the same machine ({bench['machine']['cpu']}, {bench['rounds']} rounds), and eight "
        f"seeds at once 1/{bench['train_ratio_makemore']:.0f} each; see [performance](docs/performance.md).\n"
    )
