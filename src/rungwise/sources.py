"""Where words come from: a file, standard input, a column of a table; packed or not, in any encoding. No torch here.

Whatever the source, it is read in blocks, so that memory does not grow with it.
"""

from __future__ import annotations

import codecs
import csv
import difflib
import encodings.aliases
import gzip
import hashlib
import io
import os
import unicodedata
import zlib
from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from rungwise.config import UserError, closest
from rungwise.machine import cached

if TYPE_CHECKING:
    from hashlib import _Hash as Digest

NAMES_URL = "https://raw.githubusercontent.com/karpathy/makemore/988aa59e4d8fefa526d06f3b453ad116258398d4/names.txt"
NAMES_SHA256 = "0a30b5557f192f32ab962680889aac5f6fda0f4cecf40a6d0b5694f58ea8cc4d"

BLOCK_BYTES = 1 << 20
ROWS_A_BLOCK = 1 << 18
GZIP, PARQUET = b"\x1f\x8b", b"PAR1"
"""What such files begin with. No UTF-8 text begins with GZIP, so a packed list is known by its first bytes."""


def names_path(url: str = NAMES_URL, sha256: str = NAMES_SHA256, timeout: float = 10) -> Path:
    """Where the article's list lies: $RUNGWISE_DATA_DIR, the user's cache, or there after a download.

    The SHA-256 is checked wherever it comes from; a file that differs is refused.
    """
    if folder := os.environ.get("RUNGWISE_DATA_DIR"):
        path = Path(folder) / "names.txt"
        if path.is_file():
            if hashlib.sha256(path.read_bytes()).hexdigest() != sha256:
                raise UserError(
                    f"{path} is not the article's list (SHA-256 differs); remove it, or give it as --data {path}."
                )
            return path
    import pooch  # loads requests: only here

    pooch.get_logger().setLevel("ERROR")
    downloader: Any = pooch.HTTPDownloader(timeout=timeout)
    try:
        found = pooch.retrieve(url, f"sha256:{sha256}", "names.txt", cached("names.txt").parent, downloader=downloader)
    except OSError as error:  # requests' errors are OSErrors
        raise UserError(
            f"no download from {url}: {type(error).__name__}; set RUNGWISE_DATA_DIR to a folder with names.txt."
        ) from None
    except ValueError:  # pooch's word for a hash that differs; it keeps nothing
        raise UserError(f"What {url} sent is not the article's list (SHA-256 differs); nothing was kept.") from None
    return Path(found)


def blocks(stream: IO[bytes], name: str, encoding: str, column: str | None, digest: Digest) -> Iterator[list[str]]:
    """Lists of words as they stand in the source, in Unicode's composed form (NFC); blanks and spaces are kept.

    `digest` takes the bytes as they are read, unpacked: a list and the same list in gzip have one fingerprint.
    """
    peekable: Any = stream if isinstance(stream, io.BufferedReader) else io.BufferedReader(stream)  # type: ignore
    try:
        if peekable.peek(2)[:2] == GZIP:
            peekable = io.BufferedReader(gzip.GzipFile(fileobj=peekable))
        if peekable.peek(4)[:4] == PARQUET:
            yield from _parquet(peekable, name, column, digest)
            return
        lines = _lines(_text(peekable, name, encoding, digest))
        if column is None:
            for text in lines:
                yield unicodedata.normalize("NFC", text).split("\n")
        else:
            yield from _table(lines, name, column)
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise UserError(f"{name} is a damaged gzip file: {error}.") from None


def check_encoding(encoding: str) -> None:
    try:
        is_text = codecs.lookup(encoding)._is_text_encoding  # what bytes.decode() asks, too
    except (LookupError, ValueError):
        is_text = False
    if not is_text:
        near = difflib.get_close_matches(encoding, encodings.aliases.aliases, n=1)
        hint = f"did you mean {near[0]!r}?" if near else "utf-8, utf-16, latin-1, cp1252 and shift-jis are some."
        raise UserError(f"Unknown encoding {encoding!r}; {hint}")


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


def _table(texts: Iterator[str], name: str, column: str) -> Iterator[list[str]]:
    """One column of a CSV or TSV file with a header. Python's reader, not polars': it takes any encoding, gzip and
    standard input in blocks, and names the line of an error. Strict: a quote that is never closed would otherwise
    swallow the rest of the file without a word."""
    first = next(texts, "").lstrip("\r\n")
    header, _, _ = first.partition("\n")
    delimiter = max(",\t;", key=header.count)  # the first of equals
    lines = (f"{line}\n" for text in chain([first], texts) for line in text.split("\n"))
    rows = csv.reader(lines, delimiter=delimiter, strict=True)
    words: list[str] = []
    try:
        columns = [title.strip() for title in next(rows, [])]
        at = _find_column(name, column, columns)
        for row in rows:
            words.append(unicodedata.normalize("NFC", row[at]) if at < len(row) else "")
            if len(words) == ROWS_A_BLOCK:
                yield words
                words = []
    except csv.Error as error:
        hint = " (a quote that is not closed?)" if "unexpected end of data" in str(error) else ""
        raise UserError(f"{name}: line {rows.line_num:,}: {error}{hint}.") from None
    yield words


def _find_column(name: str, column: str, columns: list[str]) -> int:
    if column not in columns:
        raise UserError(f"{name} has no column {column!r}; {closest(column, columns)}")
    return columns.index(column)


def _parquet(stream: io.BufferedReader, name: str, column: str | None, digest: Digest) -> Iterator[list[str]]:
    """One column of a Parquet file, some rows at a time."""
    import polars as pl

    if isinstance(stream.raw, io.FileIO) and isinstance(stream.name, str):  # a file on disk, not packed
        source: str | bytes = stream.name
        while block := stream.read(BLOCK_BYTES):
            digest.update(block)
    else:
        source = stream.read()
        digest.update(source)
    try:
        table = pl.scan_parquet(source)
        schema = table.collect_schema()
        if column is None:
            raise UserError(f"{name} is a Parquet file: name its --column ({', '.join(schema.names())}).")
        _find_column(name, column, schema.names())
        if schema[column] not in (pl.String, pl.Categorical, pl.Enum):
            raise UserError(f"{name}: column {column!r} holds {schema[column]}, not text.")
        chosen = table.select(pl.col(column).cast(pl.String).fill_null(""))
        n_rows = table.select(pl.len()).collect().item()
        for first in range(0, n_rows, ROWS_A_BLOCK):
            some = chosen.slice(first, ROWS_A_BLOCK).collect()[column].to_list()
            yield [unicodedata.normalize("NFC", word) for word in some]
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError) as error:
        raise UserError(f"{name} cannot be read as Parquet: {str(error).splitlines()[0]}.") from None
