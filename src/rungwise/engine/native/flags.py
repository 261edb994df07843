"""How the engine is compiled, by build.py, hatch_build.py and scripts/build_wasm.py. It imports nothing."""

FLAGS = ("-std=c++17", "-O3", "-fvisibility=hidden")
FAST = ("-fno-math-errno", "-fno-trapping-math")
"""None that would hide a NaN. They come last: GCC's -fno-fast-math turns them off (a step takes 1.25 times as long)."""
ZIG = "0.16.0"
"""Of the PyPI package ziglang, whose compiler makes what we ship."""
