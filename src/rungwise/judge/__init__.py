"""Generated words against the list that they should be like, whoever generated them: counts.py compares letters and
pieces of words, estimates.py gives figures their intervals, judgement.py puts them together beside the same figures of
real held-out words (figures.py); rules.py and molecules.py say what is valid. Needs no model and no torch; imports
data, config and util."""
