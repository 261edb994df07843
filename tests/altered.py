"""Files that somebody has altered, and what a command makes of them: status 0, or one line and status 2."""

import json

from hypothesis import strategies as st

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=6,
)


@st.composite
def altered(draw, whole: dict) -> dict:
    """JSON with a value, somewhere inside, that is something else."""
    copy = json.loads(json.dumps(whole))
    inner = copy
    while True:
        key = draw(st.sampled_from(sorted(inner)))
        if isinstance(inner[key], dict) and inner[key] and draw(st.booleans()):
            inner = inner[key]
        else:
            inner[key] = draw(values)
            return copy


def assert_civil(done) -> None:
    assert done.status in (0, 2), done
    assert "Traceback" not in done.err
    assert "internal error" not in done.err
    if done.status:
        assert done.err.splitlines()[-1].startswith("rungwise: error: ")
