"""The page reads a list as the command line does, and refuses what it refuses, with the same line."""

from __future__ import annotations

import base64
import gzip
import io
import json
import lzma
import re
import shutil
import subprocess
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rungwise.config import ListConfig, get_protocol
from rungwise.data.words import read, split
from rungwise.errors import UserError

NODE = shutil.which("node")
HERE = Path(__file__).parent
pytestmark = pytest.mark.skipif(not NODE, reason="needs node")

Case = tuple[str, bytes, str, bool]
"""Name, content, column ("": none), lowercase."""
NAMES = b"anna\nBert\nCARLA\n\ndoris  \r\nemil\rfritz\n"
TABLE = b'id,name,"of, what"\n1,anna,x\n2,"Bert",y\n3,"ca""r"" la",z\n4,dora\n\n,,\n5,"two\nlines",w\n6,,v\n7,e"f,u\n'


def zipped(files: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    with zipfile.ZipFile(found := io.BytesIO(), "w", method) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return found.getvalue()


def encrypted() -> bytes:
    """A zip that says of its file that it takes a password."""
    content = bytearray(zipped({"a.txt": NAMES}))
    for magic, flags in ((b"PK\3\4", 6), (b"PK\1\2", 8)):
        content[content.index(magic) + flags] |= 1
    return bytes(content)


GOOD: dict[str, Case] = {
    "plain": ("a.txt", NAMES, "", False),
    "lowercase": ("a.txt", NAMES + "İÀΣΑΣ\n".encode(), "", True),
    "marked": ("a.txt", b"\xef\xbb\xbf" + NAMES, "", False),
    "composed": ("a.txt", "e\u0301a\nb\u00a0\n\u3000c\n\U0001f600\n".encode(), "", False),
    "gzip": ("a.txt.gz", gzip.compress(NAMES), "", False),
    "zip": ("a.zip", zipped({"a.txt": NAMES}), "", False),
    "stored": ("a.zip", zipped({"dir/": b"", "dir/a.txt": NAMES, "__MACOSX/a": b"x"}, zipfile.ZIP_STORED), "", False),
    "column": ("a.csv", TABLE, "name", False),
    "column in lower case": ("a.csv.gz", gzip.compress(TABLE), " name", True),
    "tabs": ("a.tsv", TABLE.replace(b",", b"\t"), "name", False),
    "semicolons": ("a.csv", b"x;name;a,b\n1;eva;2\n2;ida;3\n3;ole;4\n", "name", False),
    "a table that is not named so": ("a.txt", TABLE, "id", False),
    "tabs in a list": ("a.txt", b"a\tb\nc\td\ne\tf\ng\th\n", "", False),
    "one title": ("a.csv", b"name\nanna\nbert\nc\n", "", False),
    "long words": ("a.txt", NAMES + b"x" * 65 + b"\n" + b"y" * 64, "", False),
}
BAD: dict[str, Case] = {
    "empty": ("a.txt", b"", "", False),
    "blank": ("a.txt", b"\n \n\r\n", "", False),
    "short": ("a.txt", b"anna\nbert\n", "", False),
    "one long line": ("a.txt", b"a" * 1000, "", False),
    "latin-1": ("a.txt", "anna\nr\xe9my\n".encode("latin-1"), "", False),
    "binary": ("a.txt", bytes(range(256)) * 4, "", False),
    "cut off": ("a.txt", "anna\né".encode()[:-1], "", False),
    "surrogate": ("a.txt", b"a\n\xed\xa0\x80\n", "", False),
    "utf-16": ("a.txt", NAMES.decode().encode("utf-16"), "", False),
    "utf-32": ("a.txt", NAMES.decode().encode("utf-32"), "", False),
    "zeros": ("a.txt", NAMES.decode().encode("utf-16-le"), "", False),
    "table": ("a.csv", TABLE, "", False),
    "table of tabs": ("a.tsv.gz", gzip.compress(TABLE.replace(b",", b"\t")), "", False),
    "no such column": ("a.csv", TABLE, "words", False),
    "nearly a column": ("a.csv", TABLE, "names", False),
    "a column of several near ones": ("a.csv", b"word 1,word 2,it's\na,b,c\n", "word", False),
    "a title with quotes": ("a.csv", b"it's,b\na,b\n", "its", False),
    "blank lines before a header alone": ("a.csv", b"\n\na,b", "c", False),
    "column of no table": ("a.txt", NAMES, "name", False),
    "an empty table": ("a.csv", b"", "name", False),
    "rows unlike the header": ("a.csv", b"a,b\n1\n1,2,3\n", "a", False),
    "only line breaks": ("a.csv", b'a,b\n"x\ny",2\n', "a", False),
    "open quote": ("a.csv", b'a,b\nc,"d\ne,f\n', "a", False),
    "broken quote": ("a.csv", b'a,b\n\nc,"d"e\n', "a", False),
    "giant cell": ("a.csv", b"a,b\nc," + b"d" * 140_000 + b"\n", "a", False),
    "a zip of two": ("a.zip", zipped({"a": NAMES, "b": NAMES}), "", False),
    "a zip of none": ("a.zip", zipped({"a/": b"", "__MACOSX/a": NAMES}), "", False),
    "a password": ("a.zip", encrypted(), "", False),
    "gzip of nothing": ("a.gz", gzip.compress(b""), "", False),
    "gzip of latin-1": ("a.gz", gzip.compress("anna\nr\xe9my\n".encode("latin-1")), "", False),
}
DAMAGED: dict[str, Case] = {
    "gzip, cut off": ("a.gz", gzip.compress(NAMES)[:-9], "", False),
    "gzip, another header": ("a.gz", b"\x1f\x8b\x07" + gzip.compress(NAMES)[3:], "", False),
    "gzip, another sum": ("a.gz", gzip.compress(NAMES)[:-8] + bytes(8), "", False),
    "zip, cut off": ("a.zip", zipped({"a": NAMES})[:-30], "", False),
}
REFUSED = {
    "xz": (("a.xz", lzma.compress(NAMES), "", False), "a.xz is packed by xz, which a page does not read: unpack it."),
    "Parquet": (
        ("a.parquet", b"PAR1" + bytes(90) + b"PAR1", "name", False),
        "a.parquet is a Parquet file, which a page does not read: export its column as CSV.",
    ),
    "large": (
        ("a.txt", b"anna\nbert\n" * 4_000_000, "", False),
        "a.txt has 40,000,000 bytes; a page takes 33,554,432. rungwise train reads larger lists.",
    ),
    "unpacks to much": (
        ("a.gz", gzip.compress(bytes(100_000_000), 1), "", False),
        "a.gz has more than 33,554,432 bytes; a page takes 33,554,432. rungwise train reads larger lists.",
    ),
    "a zip that unpacks to much": (
        ("a.zip", zipped({"a": bytes(100_000_000)}), "", False),
        "a.zip has more than 33,554,432 bytes; a page takes 33,554,432. rungwise train reads larger lists.",
    ),
    "many words": (
        ("a.txt", b"\n".join(b"%d" % i for i in range(1_000_001)), "", False),
        "a.txt holds more than 1,000,000 words, all that a page takes. rungwise train reads larger lists.",
    ),
    "many characters": (
        ("a.txt", "\n".join(map(chr, range(0x20000, 0x20000 + 40_000))).encode(), "", False),
        "a.txt has 40,000 different characters; a page takes 2,000. rungwise train reads larger lists.",
    ),
}
IN_A_PAGE = (
    ("the --column", "the column"),
    (", or name its --encoding", ""),
    (": --encoding utf-16", ": save it as UTF-8"),
    (": --encoding utf-32", ": save it as UTF-8"),
    ("(--encoding utf-16-le or utf-16-be)", "(save it as UTF-8)"),
)
"""What a page says where the command line names a flag that a page does not have."""


def in_node(cases: Sequence[Case]) -> list[dict[str, Any]]:
    given = [
        {"name": name, "data": base64.b64encode(data).decode(), "column": column, "lowercase": lowercase}
        for name, data, column, lowercase in cases
    ]
    done = subprocess.run(
        [str(NODE), str(HERE / "read_in_node.js")], input=json.dumps(given), capture_output=True, text=True, check=False
    )
    assert not done.returncode, done.stderr
    return json.loads(done.stdout)


def on_the_command_line(case: Case) -> dict[str, Any]:
    name, data, column, lowercase = case
    try:
        listed = read(io.BytesIO(data), name, ListConfig(column=column or None, lowercase=lowercase))
        split(listed, get_protocol("strict"))
    except UserError as error:
        line = str(error)
        for flag, said in IN_A_PAGE:
            line = line.replace(flag, said)
        return {"line": line}
    dropped = {kind: getattr(listed.dropped, kind) for kind in ("long", "broken", "misfit")}
    return {"words": list(listed), "dropped": dropped}


def test_lists_are_read_alike() -> None:
    for kind, found in zip(GOOD, in_node(list(GOOD.values())), strict=True):
        assert found == on_the_command_line(GOOD[kind]), kind
        assert len(found["words"]) >= 3, kind


def test_bad_input_is_refused_with_the_same_line() -> None:
    for kind, found in zip(BAD, in_node(list(BAD.values())), strict=True):
        assert found == on_the_command_line(BAD[kind]), kind
        assert "line" in found and "\n" not in found["line"], kind


def test_a_damaged_file_is_said_to_be_one() -> None:
    for kind, found in zip(DAMAGED, in_node(list(DAMAGED.values())), strict=True):
        theirs = on_the_command_line(DAMAGED[kind])["line"]
        said = re.match(r"a\.\w+ (is a damaged \w+ file|cannot be unpacked)", theirs)
        assert said, "the reason is of Python's own library"
        assert found["line"].startswith(DAMAGED[kind][0] + " is a damaged"), kind


def test_what_a_page_does_not_take_is_refused_in_one_line() -> None:
    found = in_node([case for case, _ in REFUSED.values()])
    assert [f["line"] for f in found] == [line for _, line in REFUSED.values()]


def test_any_text_is_read_or_refused_alike() -> None:
    """Many texts of what tables and lines are made of, drawn at once: Node starts once for all of them."""
    rng = np.random.default_rng(0)
    pieces = [*'ab,;\t"\n\r ', "\u00e9", "e\u0301", "I", "\u0130", "\u03a3", "abc", "\nc,d\n"]
    cases: list[Case] = []
    for i in range(1500):
        text = "".join(rng.choice(pieces, size=rng.integers(40)))
        whole = f"a,b\n{text}\nq,r\ns,t\nu,v\n" if i % 2 else text.replace('"', "")
        name, column = rng.choice(["words", "words.csv"]), rng.choice(["", "a", "b"])
        cases.append((str(name), whole.encode(), str(column), i % 3 == 0))
    found = in_node(cases)
    for case, ours in zip(cases, found, strict=True):
        assert ours == on_the_command_line(case), case
    assert sum("words" in ours for ours in found) > 300
    assert len({ours["line"].split(":")[0] for ours in found if "line" in ours}) > 9
