"""What the other processes of a distributed run do: rank 0 tells them, and they write and print nothing."""

import sys
from typing import Any

import torch

from rungwise.config import ListConfig, ModelConfig, RunConfig, TrainConfig, get_protocol
from rungwise.data.dataset import Dataset, described_batches
from rungwise.engine.ddp import DistributedEngine
from rungwise.engine.process_group import RankLost, World
from rungwise.errors import UserError
from rungwise.training.run_dir import Configs


def message(configs: Configs, run: RunConfig, dataset: Dataset, resume_hint: str) -> dict[str, Any]:
    """What rank 0 tells the others, as JSON values."""
    return {
        "model": configs.model.to_dict(),
        "train": configs.train.to_dict(),
        "run": run.to_dict(),
        "list": configs.info["list"],
        "dataset": dataset.description(),
        "threads": torch.get_num_threads(),
        "resume_hint": resume_hint,
    }


def follow() -> None:
    """Take part in the run that rank 0 leads, until it ends."""
    world = World.from_environment()
    assert world is not None
    job = world.hear()
    if not job:  # the run is complete
        return
    try:
        model, train = ModelConfig.from_dict(job["model"]), TrainConfig.from_dict(job["train"])
        run, source = RunConfig.from_dict(job["run"]), ListConfig.from_dict(job["list"])
        torch.set_num_threads(job["threads"])
        batches = described_batches(
            job["dataset"], source, get_protocol(run.protocol, source.condition), train, run.seed
        )
    except UserError as error:
        world.answer(str(error))
        sys.exit(2)
    world.answer()
    try:
        DistributedEngine(model, train, batches, run, world).follow()
        world.await_finish()
    except RankLost:
        if world.rank > 1:
            sys.exit(2)
        raise UserError(  # one of the others is enough
            f"Rank 1 lost rank 0. Where rank 0 says no more, it was killed. From the last checkpoint: "
            f"{job['resume_hint']}"
        ) from None
    except UserError as error:  # a shard that cannot be read any more, say
        raise UserError(f"Rank {world.rank}: {error}") from None
