"""One run of `rungwise train`: its directory (run_dir.py), its loop of steps, evaluations and checkpoints
(trainer.py), how it starts and goes on (run.py), who watches it (trackers.py). Imports inference and all below."""
