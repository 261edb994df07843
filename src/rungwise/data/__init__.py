"""Word lists, from their source to batches: sources and tables, words and their split, shards that no memory holds,
batches, which words a list holds, n-gram baselines, and a description of a list. Imports config and util; no torch."""
