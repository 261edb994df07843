"""A trained model at work: score.py gives exact likelihoods, evaluate.py what they say of a list, sample.py draws words
over a tree of prefixes (prefix_tree.py). Imports engine (for C++), data, model, config and util."""
