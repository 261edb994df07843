"""A trained model at work: score.py gives exact likelihoods, evaluate.py what they say of a list, sample.py draws words
over a tree of prefixes (prefix_tree.py), constrained.py words that keep rules (wanted.py, automaton.py); ranked.py
lists the most probable words, guesses.py estimates where a word stands among them. Imports engine (for C++), data,
model, config and util."""
