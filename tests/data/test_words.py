"""Reading lists of every kind, and what a list can tell of itself."""

import gzip
import hashlib
import http.server
import io
import lzma
import re
import threading
import time
import unicodedata
import zipfile
from itertools import chain, pairwise

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rungwise.config import PROTOCOLS, ListConfig
from rungwise.data import batches, sources, words
from rungwise.data.batches import Tape
from rungwise.data.words import END, PAD, Dropped, Vocabulary, from_words, read, split
from rungwise.errors import UserError
from rungwise.util import hashing

# What a line can hold: no line break, no zero character, and no half of a surrogate pair.
texts = st.text(st.characters(exclude_characters="\n\r\0", exclude_categories=["Cs"]), max_size=12)
spoken = st.lists(texts, min_size=1, max_size=30).filter(lambda lines: bool(expected(lines)))
plain = st.lists(st.text("abcd", min_size=1, max_size=4), min_size=1, max_size=60)


def read_bytes(data: bytes, **fields) -> words.WordList:
    return read(io.BytesIO(data), "some", ListConfig(**fields))


def expected(lines: list[str]) -> list[str]:
    composed = (unicodedata.normalize("NFC", line) for line in lines)
    return [word for line in composed if (word := re.sub(r"^[\s\ufeff]+|[\s\ufeff]+$", "", line))]


SCRIPTS = {
    "Cyrillic": ["Анна", "Йосиф"],
    "Japanese": ["さくら", "東京", "ガギグ"],
    "Arabic": ["محمد", "فاطمة"],
    "Devanagari": ["क्षत्रिय", "नमस्ते"],
    "emoji": ["👩‍👩‍👧", "🇩🇪🎉"],
    "marks": ["e\u0301te\u0301", "o\u0302\u0323"],
    "odd": ["a.b", "St. John's", 'say "hi"', "a\tb", "<pad>", "<|end|>", "x y", "\\n", "..", "a,b;c", "-", "#no"],
}


@pytest.mark.parametrize("lines", SCRIPTS.values(), ids=SCRIPTS)
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"], ids=["LF", "CRLF", "CR"])
@pytest.mark.parametrize("mark", ["", "\ufeff"], ids=["plain", "BOM"])
def test_any_script_and_line_end(lines, end, mark):
    found = read_bytes((mark + end.join(lines) + end).encode())
    assert list(found) == expected(lines)
    assert found.dropped == Dropped()
    assert list(found) == [unicodedata.normalize("NFC", word) for word in found]


@given(spoken)
def test_reading_is_splitting_stripping_and_composing(lines):
    text = "\n".join(lines)
    assert list(read_bytes(text.encode())) == expected(text.split("\n"))


@given(spoken, st.sampled_from(["utf-8", "utf-16", "utf-32", "utf-16-be", "utf-7", "gb18030"]))
def test_any_encoding_gives_the_same_list(lines, encoding):
    # GB 18030 cannot spell a few private characters back to themselves, so the oracle goes through it, too.
    text = "\n".join(line.replace("\ufeff", "") for line in lines).encode(encoding).decode(encoding)
    if words_ := expected(text.split("\n")):
        assert list(read_bytes(text.encode(encoding), encoding=encoding)) == words_


@given(spoken, st.integers(1, 7))
def test_blocks_may_end_anywhere(lines, size):
    """Between the bytes of a character, between CR and LF, in the middle of a word."""
    before, sources.BLOCK_BYTES = sources.BLOCK_BYTES, size
    try:
        text = "\r\n".join(lines)
        assert list(read_bytes(text.encode())) == expected(text.split("\n"))
    finally:
        sources.BLOCK_BYTES = before


def test_blank_lines_and_long_words_are_counted():
    found = read_bytes(b"\n  \nabc\n\nabcdefg\nabcd \n", max_length=4)
    assert list(found) == ["abc", "abcd"]
    assert found.dropped == Dropped(long=1, blank=3)
    assert (found.max_length, found.block_size) == (4, 5)
    found = read_bytes(b"abcdefgh\nab\ncd\nef\ngh\nij", max_length=4)
    assert "1 too long and dropped" in words.describe(found, split(found, PROTOCOLS["article"]))


CONVERT = "convert it first, or name its --encoding."
UTF16 = "it looks like UTF-16: --encoding utf-16."
UTF32 = "it looks like UTF-32: --encoding utf-32."
ZERO = "it is no text, or UTF-16 without its mark (--encoding utf-16-le or utf-16-be)."
ANOTHER = "try another --encoding."


@pytest.mark.parametrize(
    ("data", "encoding", "line"),
    [
        (b"anna\nb\xffa\n", "utf-8", f"some is not UTF-8: line 2, byte 7 of the file (0xff); {CONVERT}"),
        (b"\xef\xbb\xbfa\n\xc3(", "utf-8", f"some is not UTF-8: line 2, byte 6 of the file (0xc3); {CONVERT}"),
        (b"anna\nbea\n\xe3\x81", "utf-8", f"some is not UTF-8: line 3, byte 10 of the file (0xe3); {CONVERT}"),
        ("anna".encode("utf-16"), "utf-8", f"some is not UTF-8: line 1, byte 1 of the file (0xff); {UTF16}"),
        ("anna".encode("utf-32"), "utf-8", f"some is not UTF-8: line 1, byte 1 of the file (0xff); {UTF32}"),
        ("anna\nbea\n".encode("utf-16-le"), "utf-8", f"some holds zero characters (U+0000): {ZERO}"),
        (b"anna\nb\0a\n", "utf-8", f"some holds zero characters (U+0000): {ZERO}"),
        (b"anna\n\x81\xff", "shift_jis", f"some is not shift_jis: line 2, byte 6 of the file (0x81); {ANOTHER}"),
        (b"\xff\xfea\0\n\0b\0\0\xdc", "utf-16", f"some is not utf-16: line 2, byte 9 of the file (0x00); {ANOTHER}"),
        (b"a", "klingon-5", "Unknown encoding 'klingon-5'; utf-8, utf-16, latin-1, cp1252 and shift-jis are some."),
        (b"a", "utf-88", "Unknown encoding 'utf-88'; did you mean 'utf8'?"),
        (b"a", "rot13", "'rot13' is no encoding of text; utf-8, utf-16, latin-1, cp1252 and shift-jis are some."),
        (b"a", "hex", "'hex' is no encoding of text; utf-8, utf-16, latin-1, cp1252 and shift-jis are some."),
        (b"a", "hexx", "Unknown encoding 'hexx'; utf-8, utf-16, latin-1, cp1252 and shift-jis are some."),
        (b"a", "undefined", "some cannot be read as undefined: undefined encoding."),
        (b"\\ud800", "unicode_escape", "some holds half a character (U+D800)."),
        (b"", "utf-8", "some holds no words."),
        (b"\n \r\n\t\n", "utf-8", "some holds no words."),
        (b"x" * 65, "utf-8", "some holds no words of at most 64 characters."),
        (b"\x1f\x8b\x08\x00truncated", "utf-8", "some is a damaged gzip file: "),
        (gzip.compress(b"anna\n" * 99, mtime=0)[:-9], "utf-8", "some is a damaged gzip file: "),
    ],
)  # fmt: skip
def test_what_cannot_be_read(data, encoding, line):
    with pytest.raises(UserError) as caught:
        read_bytes(data, encoding=encoding)
    assert str(caught.value).startswith(line)
    assert "\n" not in str(caught.value)


def test_an_error_far_into_a_large_file_names_its_place():
    good = "".join(f"wörd{i}\n" for i in range(200_000)).encode()
    with pytest.raises(UserError, match=f"line 200,001, byte {len(good) + 3:,} of the file"):
        read_bytes(good + b"ab\xfe\n" + good)


def zipped(members: dict[str, bytes]) -> bytes:
    with zipfile.ZipFile(packed := io.BytesIO(), "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return packed.getvalue()


PACKERS = {
    "gzip": lambda data: gzip.compress(data, mtime=0),
    "xz": lzma.compress,
    "zip": lambda data: zipped({"folder/list": data, "folder/": b"", "__MACOSX/._list": b"\0"}),
}


class Pipe(io.BytesIO):
    def seekable(self):
        return False

    def seek(self, *args):
        raise OSError


@pytest.mark.parametrize("pack", PACKERS.values(), ids=PACKERS)
@pytest.mark.parametrize("stream", [io.BytesIO, Pipe])
def test_packed_lists_are_known_by_their_first_bytes(pack, stream):
    data = "".join(f"wörd{i}\n" for i in range(200_000)).encode()  # of several blocks
    packed, bare = read(stream(pack(data)), "some"), read_bytes(data)
    assert list(packed.firsts) == list(bare.firsts)
    assert (packed.codes == bare.codes).all()
    assert packed.sha256 == bare.sha256 == hashlib.sha256(data).hexdigest()


@pytest.mark.parametrize(
    ("data", "line"),
    [
        (lzma.compress(b"anna\n" * 99)[:-9], "some is a damaged xz file: Compressed file ended before"),
        (lzma.compress(b"anna\n" * 99)[:20] + bytes(40), "some is a damaged xz file: "),
        (zipped({"list": b"anna\n" * 99})[:-9], "some is a damaged zip file: File is not a zip file."),
        (zipped({"list": b"anna\n" * 99}).replace(b"list", b"tsil", 1), "some is a damaged zip file: File name in "),
        (zipped({}).replace(b"PK\x05\x06", b"PK\x03\x04"), "some is a damaged zip file: "),
        (zipped({"a": b"anna", "b": b"bea"}), "some is a zip of 2 files, not of one list: unpack it "),
        (zipped({"a/": b""}), "some is a zip of 0 files, not of one list: unpack it "),
        (zipped({"a": b""}), "some holds no words."),
    ],
)
def test_packed_lists_that_cannot_be_read(data, line):
    with pytest.raises(UserError) as caught:
        read_bytes(data)
    assert str(caught.value).startswith(line)
    assert "\n" not in str(caught.value)


def test_a_zip_with_a_password_says_so():
    data = bytearray(zipped({"list": b"anna\n" * 99}))
    for mark, at in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):  # the flag that says so, here and in the directory
        data[data.index(mark) + at] |= 1
    with pytest.raises(UserError, match=r"^some cannot be unpacked: File 'list' is encrypted, password required "):
        read_bytes(bytes(data))


@pytest.mark.parametrize("packed", [False, True])
def test_a_column_of_a_parquet_file(tmp_path, packed, monkeypatch):
    monkeypatch.setattr(sources, "ROWS_A_BLOCK", 2)
    frame = pl.DataFrame({"n": [1, 2, 3, 4], "name": ["Anna", None, "Дора ", "e\u0301"]})
    frame.write_parquet(path := tmp_path / "t.parquet")
    data = path.read_bytes()
    if packed:
        path.write_bytes(gzip.compress(data, mtime=0))
    found = words.load(ListConfig(str(path), column="name"))
    assert list(found) == ["Anna", "Дора", "é"]
    assert found.sha256 == hashlib.sha256(data).hexdigest()
    assert found.dropped == Dropped(blank=1)
    assert list(read_bytes(data, column="name")) == list(found)


@pytest.mark.parametrize(
    ("column", "line"),
    [
        ("nane", "t.parquet has no column 'nane'; did you mean 'name'?"),
        ("n", "t.parquet: column 'n' holds Int64, not text."),
        (None, "t.parquet is a Parquet file: name its --column (n, name)."),
    ],
)
def test_a_parquet_column_that_will_not_do(tmp_path, column, line):
    pl.DataFrame({"n": [1], "name": ["Anna"]}).write_parquet(path := tmp_path / "t.parquet")
    with pytest.raises(UserError) as caught:
        words.load(ListConfig(str(path), column=column))
    assert str(caught.value) == line


@given(spoken)
def test_words_from_python_are_words_from_a_file(lines):
    one, other = from_words(lines), read_bytes("".join(f"{line}\n" for line in lines).encode())
    assert list(one) == list(other)
    assert one.vocabulary == other.vocabulary
    if all(line == unicodedata.normalize("NFC", line) for line in lines) and not lines[0].startswith("\ufeff"):
        assert one.sha256 == other.sha256


def test_a_word_with_a_line_break_is_dropped_and_counted():
    assert from_words(["a\nb", "c", "d\re"]).dropped == Dropped(broken=2)
    with pytest.raises(UserError, match=r"^some holds no words on one line\.$"):
        read_bytes(b'name\n"an\nna"\n', column="name")


@given(plain)
def test_equal_words_have_equal_identities(some):
    found = from_words(some)
    assert found.identities.tolist() == [some.index(word) for word in some]
    assert [found[i] for i in found.firsts] == list(dict.fromkeys(some))
    for word in {*some, "abcdabcd", "z", ""}:
        assert found.find(word).tolist() == [i for i, w in enumerate(some) if w == word]


def test_identities_stay_exact_where_hashes_collide(monkeypatch):
    honest = hashing.hash_words

    def poor(codes, offsets, salt=0):
        return honest(codes, offsets, salt) if salt == 2 else np.zeros(len(offsets) - 1, dtype=np.uint64)

    monkeypatch.setattr(words, "hash_words", poor)
    some = ["ab", "ba", "ab", "abc", "b", "ba"]
    assert from_words(some).identities.tolist() == [0, 1, 0, 3, 4, 1]


@given(plain, st.integers(0, 9), st.sampled_from(list(PROTOCOLS)))
def test_a_split_divides_the_list(some, seed, name):
    listed, protocol = from_words(some), PROTOCOLS[name]
    pool = list(dict.fromkeys(some)) if protocol.distinct else some
    try:
        parts = split(listed, protocol, seed)
    except UserError as error:
        assert len(pool) <= 2 + protocol.distinct
        assert "needs at least" in str(error)
        return
    held = [[listed[i] for i in part] for part in (parts.train, parts.validation, parts.test)]
    assert sorted(chain(*held)) == sorted(pool)
    assert len(held[2]) == max(1, round(len(pool) * 0.1))
    assert len(held[1]) == (max(1, round(len(pool) * 0.1)) if protocol.distinct else 0)
    if protocol.distinct:
        assert not set(held[0]) & set(held[2])
    again = split(listed, protocol, seed)
    np.testing.assert_array_equal(parts.train, again.train)


@given(st.lists(st.text(max_size=5).filter(lambda w: not set(w) & {"\n", "\r"}), min_size=1, max_size=9))
def test_encoding_and_back(some):
    vocabulary = Vocabulary("".join(sorted(set("".join(some)))))
    width = max(map(len, some)) + 2
    rows = np.full((len(some), width), PAD)
    for row, word in zip(rows, some, strict=True):
        ids = vocabulary.encode(word)
        row[: len(word) + 1] = [*ids, END]
        assert vocabulary.decode(row) == word
    assert vocabulary.decode_rows(rows) == some


def test_an_unknown_character_is_named():
    with pytest.raises(UserError, match=r"'q' in 'aqb' is not in the alphabet of the training list: ab"):
        Vocabulary("ab").encode("aqb")


@given(plain, st.text("abcdx", max_size=4))
def test_a_list_in_another_vocabulary(some, alphabet):
    vocabulary = Vocabulary("".join(sorted(set(alphabet))))
    found, strange = from_words(some).in_vocabulary(vocabulary)
    assert strange.tolist() == [not set(word) <= set(alphabet) for word in some]
    assert list(found) == [word for word in some if set(word) <= set(alphabet)]


@given(plain, st.sampled_from(list(PROTOCOLS)), st.integers(1, 5))
def test_a_tape_does_not_depend_on_how_many_words_are_copied_at_once(some, name, at_once):
    listed, indices = from_words(some), np.arange(len(some))[::-1]
    whole = Tape.of(listed, indices, PROTOCOLS[name])
    before, batches.WORDS_A_BLOCK = batches.WORDS_A_BLOCK, at_once
    try:
        pieces = Tape.of(listed, indices, PROTOCOLS[name])
    finally:
        batches.WORDS_A_BLOCK = before
    for field in ("tokens", "starts", "lengths"):
        np.testing.assert_array_equal(getattr(whole, field), getattr(pieces, field))
    line = [
        listed.vocabulary.decode(whole.tokens[s:].tolist()[0 if whole.tokens[s] != END else 1 :]) for s in whole.starts
    ]
    assert line == some[::-1]  # fmt: skip


# ------------------------------------------------------------------------------------- the article's list

CONTENT = b"anna\nbea\n"
SHA = hashlib.sha256(CONTENT).hexdigest()


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        if self.path == "/slow":
            time.sleep(1)
        self.send_response(404 if self.path == "/missing" else 200)
        if self.path == "/short":
            self.send_header("Content-Length", "100")
        self.end_headers()
        self.wfile.write(b"other" if self.path == "/wrong" else CONTENT)

    def log_message(self, *args): ...


@pytest.fixture
def server(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.delenv("RUNGWISE_DATA_DIR", raising=False)
    monkeypatch.setenv("NO_PROXY", "*")
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        yield f"http://127.0.0.1:{running.server_port}"
        running.shutdown()


def test_a_download_is_checked_and_kept(server, tmp_path):
    path = words.names_path(f"{server}/right", SHA)
    assert path.read_bytes() == CONTENT
    assert words.names_path("http://127.0.0.1:1/gone", SHA) == path  # from the cache: nothing is asked


@pytest.mark.parametrize(
    ("page", "line"),
    [
        ("wrong", "is not the article's list (SHA-256 differs); nothing was kept."),
        ("missing", "/missing (Not Found); set RUNGWISE_DATA_DIR to a folder with names.txt."),
        ("short", "/short (IncompleteRead(9 bytes read, 91 more expected)); set RUNGWISE_DATA_DIR"),
        ("slow", "/slow (timed out); set RUNGWISE_DATA_DIR to a folder with names.txt."),
    ],
)
def test_a_download_that_fails(server, page, line, tmp_path):
    with pytest.raises(UserError) as caught:
        words.names_path(f"{server}/{page}", SHA, timeout=0.2)
    assert line in str(caught.value)
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_a_data_folder_is_asked_first_and_checked(tmp_path, monkeypatch):
    monkeypatch.setenv("RUNGWISE_DATA_DIR", str(tmp_path))
    (tmp_path / "names.txt").write_bytes(CONTENT)
    assert words.names_path(sha256=SHA) == tmp_path / "names.txt"
    with pytest.raises(UserError, match="SHA-256 differs"):
        words.names_path()


def test_auto_falls_back_to_the_bundled_list(monkeypatch, capsys):
    def cannot():
        raise UserError("no network.")

    monkeypatch.setattr(words, "names_path", cannot)
    assert words.load("auto").name == "given-names"
    assert capsys.readouterr().err == "The article's list cannot be had (no network.) Using given-names.\n"


@settings(deadline=None, max_examples=20)
@given(st.lists(st.integers(0, 300), min_size=1, max_size=200), st.integers(0, 3))
def test_word_hashes_tell_words_apart(lengths, salt):
    rng = np.random.default_rng(len(lengths))
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    codes = rng.integers(2, 5, offsets[-1]).astype(np.uint8)
    spelled = [codes[a:b].tobytes() for a, b in pairwise(offsets)]
    hashes = hashing.hash_words(codes, offsets, salt)
    assert len(set(hashes.tolist())) == len(set(spelled))
    again = hashing.hash_words(codes.astype(np.uint16), offsets, salt)
    np.testing.assert_array_equal(hashes, again)  # whatever the width of the codes
    assert (hashes != hashing.hash_words(codes, offsets, salt + 1)).all()
