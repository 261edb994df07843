"""Results -> numbers and verdicts: statistics, evidence read back from disk, the article's claims as data, and tables.
Imports experiment, ladder, config, data and util; no torch."""
