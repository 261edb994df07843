"""Where words come from: a file, standard input, a column of a table; packed or not, in any encoding. No torch here.

Whatever the source, it is read in blocks, so that memory does not grow with it; and whatever the source, a model or
the command line among them, comparable() says which word a text is.
"""

from __future__ import annotations

import codecs
import contextlib
import csv
import difflib
import encodings.aliases
import gzip
import hashlib
import io
import operator
import os
import struct
import unicodedata
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from rungwise.config import ListConfig
from rungwise.errors import UserError, require_known
from rungwise.util.files import atomic, make_folder, portable
from rungwise.util.hints import quoted
from rungwise.util.machine import cached

try:
    import lzma
except ImportError:  # a Python that was built without it reads everything else
    lzma = None

if TYPE_CHECKING:
    from hashlib import _Hash as Digest

NAMES_URL = "https://raw.githubusercontent.com/karpathy/makemore/988aa59e4d8fefa526d06f3b453ad116258398d4/names.txt"
NAMES_SHA256 = "0a30b5557f192f32ab962680889aac5f6fda0f4cecf40a6d0b5694f58ea8cc4d"

BLOCK_BYTES = 1 << 20
ROWS_A_BLOCK = 1 << 18
PARQUET = b"PAR1"
DELIMITERS = ",\t;"
TABLES = {".csv", ".tsv"}
BLANKS = (
    "\t\n\v\f\r\x1c\x1d\x1e\x1f \x85\xa0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a"
    "\u2028\u2029\u202f\u205f\u3000\ufeff"
)
"""What is no part of a word where it begins or ends it: Unicode's white space, and the byte-order mark."""


def comparable(text: str, beginning: bool = False) -> str:
    """The word that a text is, so that equal words are equal text: in Unicode's composed form (NFC), without outer
    blanks. Every text that comes from outside or from a model passes here before it is kept or compared.

    `beginning`: of a word, as --prefix gives it; a blank that ends it stands inside the word.
    """
    composed = unicodedata.normalize("NFC", text)
    return composed.lstrip(BLANKS) if beginning else composed.strip(BLANKS)


def names_path(url: str = NAMES_URL, sha256: str = NAMES_SHA256, timeout: float = 10) -> Path:
    """Where the article's list lies: $RUNGWISE_DATA_DIR, the user's cache, or there after a download.

    The SHA-256 is checked wherever it comes from; a file that differs is refused.
    """
    folder = os.environ.get("RUNGWISE_DATA_DIR")
    if folder and (path := Path(folder) / "names.txt").is_file():
        if hashlib.sha256(path.read_bytes()).hexdigest() != sha256:
            raise UserError(
                f"{path} is not the article's list (SHA-256 differs); remove it, or give it as {quoted('--data', path)}"
            )
        return path
    path = cached("names.txt")
    if not path.is_file() or hashlib.sha256(path.read_bytes()).hexdigest() != sha256:
        content = _download(url, timeout)
        if hashlib.sha256(content).hexdigest() != sha256:
            raise UserError(f"What {url} sent is not the article's list (SHA-256 differs); nothing was kept.")
        make_folder(path.parent)
        with atomic(path) as temporary:
            temporary.write_bytes(content)
    return path


def _download(url: str, timeout: float) -> bytes:
    """What an address sends; `timeout`: seconds without an answer."""
    import http.client
    import urllib.request

    try:
        with urllib.request.urlopen(url, timeout=timeout) as response:
            return response.read()
    except (OSError, http.client.HTTPException) as error:
        why = getattr(error, "reason", None) or error
        raise UserError(f"no download from {url} ({why}); set RUNGWISE_DATA_DIR to a folder with names.txt.") from None


Block = Sequence[Any]
"""Words as they stand in a source, each a text, or with a condition a pair of texts, (word, what it is given); None: a
row of a table that does not fit its header."""


def blocks(stream: IO[bytes], name: str, how: ListConfig, digest: Digest) -> Iterator[Block]:
    """Words as they stand in the source, blank ones included.

    `digest` takes the bytes as they are read, unpacked: a list and the same list packed have one fingerprint.
    """
    plain: Any = stream
    if not isinstance(plain, io.BufferedReader):
        plain = io.BufferedReader(plain)
    columns = [portable(name) for name in (how.column, how.condition) if name is not None]
    begin = plain.peek(6)
    kind, unpack = next((how for magic, how in PACKED.items() if begin.startswith(magic)), ("", None))
    try:
        if unpack:
            plain = io.BufferedReader(unpack(plain, name))
        if plain.peek(4)[:4] == PARQUET:
            yield from _parquet(plain, name, columns, digest)
            return
        lines = _lines(_text(plain, name, how.encoding, digest))
        if columns:
            yield from _table(lines, name, columns)
            return
        for number, text in enumerate(lines):
            if not number:
                _refuse_table(name, text)
            yield text.split("\n")
    except DAMAGE as error:
        raise UserError(f"{name} is a damaged {kind} file: {str(error).rstrip('.')}.") from None


def _xz(stream: io.BufferedReader, name: str) -> Any:
    if lzma is None:
        raise UserError(f"{name} is packed by xz, which this Python was built without: unpack it.")
    return lzma.LZMAFile(stream)


def _zip(stream: io.BufferedReader, name: str) -> Any:
    """The one file in a zip."""
    try:
        archive = zipfile.ZipFile(stream if stream.seekable() else io.BytesIO(stream.read()))
        held = [i for i in archive.infolist() if not i.is_dir() and not i.filename.startswith("__MACOSX/")]
        if len(held) == 1:
            return archive.open(held[0].filename)
    except (RuntimeError, OSError, ValueError, struct.error) as error:  # a password, an unknown method, damage
        raise UserError(f"{name} cannot be unpacked: {error}.") from None
    raise UserError(
        f"{name} is a zip of {len(held):,} files, not of one list: unpack it (and export a spreadsheet as CSV)."
    )


PACKED: dict[bytes, tuple[str, Callable[[io.BufferedReader, str], Any]]] = {
    b"\x1f\x8b": ("gzip", lambda stream, _: gzip.GzipFile(fileobj=stream)),
    b"\xfd7zXZ\0": ("xz", _xz),
    b"PK\x03\x04": ("zip", _zip),
}
"""How packed files begin. No list of words begins so: they are known by their first bytes."""
DAMAGE = (EOFError, gzip.BadGzipFile, zlib.error, zipfile.BadZipFile, *([lzma.LZMAError] if lzma else []))
"""What reading a packed file may end with."""


def _is_text(encoding: str) -> bool | None:
    """Does an encoding make bytes of text? None: it is not known."""
    try:
        return codecs.lookup(encoding)._is_text_encoding  # what bytes.decode() asks, too
    except (LookupError, ValueError):
        return None


def check_encoding(encoding: str) -> None:
    if not (is_text := _is_text(encoding)):
        near = [] if is_text is False else difflib.get_close_matches(encoding, encodings.aliases.aliases, n=9)
        near = [other for other in near if _is_text(other)]
        hint = f"did you mean {near[0]!r}?" if near else "utf-8, utf-16, latin-1, cp1252 and shift-jis are some."
        what = f"Unknown encoding {encoding!r}" if is_text is None else f"{encoding!r} is no encoding of text"
        raise UserError(f"{what}; {hint}")


def _text(stream: IO[bytes], name: str, encoding: str, digest: Digest) -> Iterator[str]:
    """Decoded blocks. Says where bytes do not decode."""
    check_encoding(encoding)
    decoder = codecs.getincrementaldecoder(encoding)()
    n_lines = n_bytes = 0
    while True:
        block = stream.read(BLOCK_BYTES)
        digest.update(block)
        before = decoder.getstate()
        try:
            text = decoder.decode(block, final=not block)
        except UnicodeDecodeError as error:
            begin = error.start - len(before[0])  # the decoder may hold bytes of the block before
            tolerant = codecs.getincrementaldecoder(encoding)(errors="ignore")
            tolerant.setstate(before)
            line = n_lines + tolerant.decode(block[: max(0, begin)]).count("\n") + 1
            hint = "convert it first, or name its --encoding" if encoding == "utf-8" else "try another --encoding"
            if encoding == "utf-8" and not n_bytes and block[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE):
                bits = 32 if block[:4] == codecs.BOM_UTF32_LE else 16
                hint = f"it looks like UTF-{bits}: --encoding utf-{bits}"
            raise UserError(
                f"{name} is not {'UTF-8' if encoding == 'utf-8' else encoding}: line {line:,}, "
                f"byte {n_bytes + begin + 1:,} of the file (0x{error.object[error.start]:02x}); {hint}."
            ) from None
        except UnicodeError as error:  # some codecs know no place
            raise UserError(f"{name} cannot be read as {encoding}: {error}.") from None
        if not n_bytes:
            text = text.removeprefix("\ufeff")  # a byte-order mark
        n_bytes, n_lines = n_bytes + len(block), n_lines + text.count("\n")
        yield text
        if not block:
            return


def _lines(texts: Iterable[str]) -> Iterator[str]:
    """The same text in blocks of whole lines, without the newline at a block's end. CRLF, and CR alone, end lines."""
    newlines = io.IncrementalNewlineDecoder(None, translate=True)  # a CR that ends the last block is let go
    begun: list[str] = []
    for text in map(newlines.decode, texts):
        head, newline, tail = text.rpartition("\n")
        if newline:
            yield "".join([*begun, head])
            begun = []
        begun.append(tail)
    if last := "".join(begun):
        yield last


def _rows(texts: Iterable[str], delimiter: str) -> Any:
    """Strict: a quote that is never closed would otherwise swallow the rest of the file without a word."""
    lines = (f"{line}\n" for text in texts for line in text.split("\n"))
    return csv.reader(lines, delimiter=delimiter, strict=True)


def _delimiter(text: str, column: str | None = None) -> str:
    """What parts the cells of a table that begins so: what finds the column, and of several what finds more titles."""
    titles: dict[str, list[str]] = {}
    for delimiter in DELIMITERS:
        with contextlib.suppress(csv.Error):
            titles[delimiter] = [comparable(title) for title in next(_rows([text], delimiter), [])]
    return max(titles, key=lambda d: (column in titles[d], len(titles[d])), default=DELIMITERS[0])


def _refuse_table(name: str, text: str) -> None:
    """A file that is named like a table and begins like one is no list."""
    header = text.partition("\n")[0]
    titles = header.split(_delimiter(header))
    if len(titles) > 1 and TABLES & {suffix.lower() for suffix in Path(name).suffixes}:
        raise UserError(
            f"{name} is a table: name the --column that holds the words ({', '.join(titles)}). Where each line is one "
            "word, rename it to .txt."
        )


def _table(texts: Iterator[str], name: str, wanted: Sequence[str]) -> Iterator[Block]:
    """One column, or two, of a CSV or TSV file with a header. Python's reader, not polars': it takes any encoding,
    packed files and standard input in blocks, and names the line of an error.

    A row with more or fewer cells than the header is None: which of its cells is which, nobody knows, and a part of
    a cell must not pass for a word. A row of blank cells is a blank word, however many they are."""
    first = next(filter(None, (text.lstrip("\r\n") for text in texts)), "")  # blank lines may stand before the header
    rows = _rows(chain([first], texts), _delimiter(first, comparable(wanted[0])))
    words: list[Any] = []
    try:
        columns = next(rows, [])
        at = [_find_column(name, column, columns) for column in wanted]
        cells = operator.itemgetter(*at)  # a text, or a pair
        blank = "" if len(at) == 1 else ("", "")
        for row in rows:
            fits = len(row) == len(columns)
            words.append(cells(row) if fits else None if any(map(comparable, row)) else blank)
            if len(words) == ROWS_A_BLOCK:
                yield words
                words = []
    except csv.Error as error:
        hint = " (a quote that is not closed?)" if "unexpected end of data" in str(error) else ""
        raise UserError(f"{name}: line {rows.line_num:,}: {error}{hint}.") from None
    yield words


def _find_column(name: str, column: str, columns: Sequence[str]) -> int:
    column, columns = comparable(column), [comparable(title) for title in columns]
    require_known(column, columns, f"{name} has no column")
    return columns.index(column)


def _parquet(stream: io.BufferedReader, name: str, wanted: Sequence[str], digest: Digest) -> Iterator[Block]:
    """One column, or two, of a Parquet file, some rows at a time."""
    import polars as pl

    source: Any = stream
    if isinstance(stream.raw, io.FileIO) and stream.seekable():  # a file on disk, not packed
        while block := stream.read(BLOCK_BYTES):
            digest.update(block)
        stream.seek(0)
    else:
        source = stream.read()
        digest.update(source)
    try:
        table = pl.scan_parquet(source)
        schema = table.collect_schema()
        if not wanted:
            raise UserError(f"{name} is a Parquet file: name its --column ({', '.join(schema.names())}).")
        columns = [schema.names()[_find_column(name, column, schema.names())] for column in wanted]
        for column in columns:
            if schema[column] not in (pl.String, pl.Categorical, pl.Enum):
                raise UserError(f"{name}: column {column!r} holds {schema[column]}, not text.")
        chosen = table.select(
            pl.col(column).cast(pl.String).fill_null("").alias(str(i)) for i, column in enumerate(columns)
        )
        n_rows = table.select(pl.len()).collect().item()
        for first in range(0, n_rows, ROWS_A_BLOCK):
            some = chosen.slice(first, ROWS_A_BLOCK).collect()
            yield some.rows() if len(columns) == 2 else some["0"].to_list()
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError) as error:
        raise UserError(f"{name} cannot be read as Parquet: {str(error).splitlines()[0]}.") from None
