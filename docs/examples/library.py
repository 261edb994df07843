"""Train on a list of words, draw new ones, and read the run back: what the README shows."""

from rungwise import generate, load, train

run = train("given-names", "runs/example", n_embd=32, n_head=2, steps=300, eval_every=100, patience=2)
print(f"{sum(p.numel() for p in run.model.parameters()):,} parameters; alphabet {run.vocabulary.characters}")

for word in generate(run, 10, temperature=0.8, prefix="ma", unique=True, new_only=True):
    print(f"{word.text:15} {word.log_likelihood:7.2f}")

again = load("runs/example")
assert [w.text for w in generate(again, 5, seed=1)] == [w.text for w in generate(run, 5, seed=1)]
