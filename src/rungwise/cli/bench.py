"""`rungwise bench`: how fast training and sampling are on this machine."""

from __future__ import annotations

from rungwise import bench as benchmark
from rungwise.cli.options import BenchCommand


def bench(options: BenchCommand) -> None:
    asked = {field: value for field, value in vars(options).items() if field not in ("json", "out")}
    benchmark.bench(benchmark.Request(**asked), options.json, options.out)
