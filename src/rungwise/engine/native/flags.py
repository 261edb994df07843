"""How the engine is compiled, by build.py, hatch_build.py and scripts/build_wasm.py. It imports nothing."""

FLAGS = ("-std=c++17", "-O3", "-fno-math-errno", "-fno-trapping-math", "-fvisibility=hidden")
"""None that would hide a NaN: a diverged run must show as one."""
ZIG = "0.16.0"
"""Of the PyPI package ziglang, whose compiler makes what we ship."""
