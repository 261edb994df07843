"""`rungwise bench`: how fast training and sampling are on this machine."""

from rungwise import bench as benchmark
from rungwise.cli.options import BenchCommand


def bench(options: BenchCommand) -> None:
    if options.browser:
        from rungwise.play import speed

        speed.bench(1 if options.short else options.rounds, options.json, options.out)
        return
    asked = {field: value for field, value in vars(options).items() if field not in ("json", "out", "browser")}
    benchmark.bench(benchmark.Request(**asked), options.json, options.out)
