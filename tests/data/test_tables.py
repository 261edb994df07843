"""Tables: a column of a CSV or TSV file, whatever its cells hold, and rows that do not fit its header."""

import csv
import gzip
import io
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from helpers import TINY, WORDS, command, flags
from rungwise.config import ListConfig
from rungwise.data.sources import comparable
from rungwise.data.words import Dropped, WordList, read
from rungwise.errors import UserError


def read_bytes(data: bytes, column: str) -> WordList:
    return read(io.BytesIO(data), "some", ListConfig(column=column))


TABLE = [["id", "name", "note"], ["1", "Anna", "x, y"], ["2", ' B"e;a ', ""], ["3", "", "z"], ["4", "Дора", "\t"]]


@pytest.mark.parametrize("delimiter", [",", "\t", ";"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_a_column_of_a_table(delimiter, end, mark):
    quoted = [delimiter.join('"' + cell.replace('"', '""') + '"' for cell in row) for row in TABLE]
    header = delimiter.join(TABLE[0])  # what tells the delimiter
    found = read_bytes((mark + end.join([header, *quoted[1:]])).encode(), column="name")
    assert list(found) == ["Anna", 'B"e;a', "Дора"]
    assert found.dropped.blank >= 1


@pytest.mark.parametrize(
    ("data", "words", "dropped"),
    [
        (b'name,x\n"an\nna",1\nbea,2\n\n,3\n', ["bea"], Dropped(broken=1, blank=2)),
        (b"x,name\n1,anna\n2\n3,bea\n", ["anna", "bea"], Dropped(misfit=1)),
        (b"name\nanna\nbea\n", ["anna", "bea"], Dropped()),
        (b"name,x\nSmith, John,1\nanna,2\nbert\ncarl,3,4\n", ["anna"], Dropped(misfit=3)),
        (b"name\nSmith, John\nanna\n", ["anna"], Dropped(misfit=1)),
        (b"name,x\nanna,1\n,,,,\n \n\n", ["anna"], Dropped(blank=3)),  # blank cells lose nothing
    ],
)
def test_rows_that_do_not_fit_the_header_are_counted_and_never_cut(data, words, dropped):
    found = read_bytes(data, column="name")
    assert list(found) == words
    assert found.dropped == dropped


def test_a_table_without_a_row_that_fits_is_refused():
    with pytest.raises(UserError, match=r"^some holds no words in rows with as many cells as the header\.$"):
        read_bytes(b"name;x\nanna;1;\nbea;2;\n", column="name")


def test_every_command_tells_of_rows_that_do_not_fit(tmp_path):
    rows = "".join(f"{word},{i}\n" for i, word in enumerate(WORDS))
    path = tmp_path / "t.csv"
    path.write_text(f"name,x\nSmith, John,1\n{rows}Bert\n")
    data = ("--column", "name")
    told = ", 2 in rows with more or fewer cells than the header and dropped; "
    assert told in command("train", "--data", path, "--out", tmp_path / "r", *data, *flags(**TINY)).out
    assert (
        "\nNot read: 2 rows with more or fewer cells than the header\n"
        in command("eval", tmp_path / "r", path, *data).out
    )
    assert json.loads(command("eval", tmp_path / "r", path, *data, "--json").out)["dropped_rows_unlike_the_header"] == 2
    assert "\nDropped: 2 in rows with more or fewer cells than the header\n" in command("data", path, *data).out


titles = st.text(st.characters(exclude_characters="\r\0\ufeff", exclude_categories=["Cs"]), min_size=1, max_size=6)
cells = st.one_of(st.sampled_from(["", " ", "anna", "O'Neil", 'say "hi"', "a,b", "a;b", "a\tb", "a\nb"]), titles)


@given(st.data(), st.sampled_from([",", "\t", ";"]), st.booleans(), st.sampled_from(["\n", "\r\n"]))
def test_any_table_gives_the_cells_of_the_rows_that_fit(data, delimiter, mark, end):
    """As Python's writer writes it. What quotes the titles tells the delimiter; where nothing is quoted, no title holds
    another one. Of one column nothing tells it: a comma."""
    titled = data.draw(st.lists(titles, min_size=1, max_size=4, unique_by=comparable))
    quoting = csv.QUOTE_MINIMAL
    if len(titled) == 1:
        delimiter = ","
    if any(set(title) & {*",;\t", '"', "\n"} for title in titled):
        quoting = csv.QUOTE_ALL
    at = data.draw(st.integers(0, len(titled) - 1))
    rows = data.draw(st.lists(st.lists(cells, min_size=1, max_size=6), max_size=12))
    text = io.StringIO(newline="")
    csv.writer(text, delimiter=delimiter, quoting=quoting, lineterminator=end).writerows([titled, *rows])
    words = [comparable(row[at]) for row in rows if len(row) == len(titled)]
    kept = [word for word in words if word and "\n" not in word]
    misfits = sum(len(row) != len(titled) and any(map(comparable, row)) for row in rows)
    try:
        found = read_bytes((mark * "\ufeff" + text.getvalue()).encode(), column=titled[at])
    except UserError as error:
        assert not kept
        assert str(error).startswith("some holds no words") or not comparable(titled[at])
        return
    assert list(found) == kept
    assert found.dropped.misfit == misfits
    assert found.dropped.broken == sum("\n" in word for word in words)
    assert found.dropped.blank == len(rows) - len(kept) - misfits - found.dropped.broken


@pytest.mark.parametrize(
    ("table", "column"),
    [
        ("name;last, first, x\nanna;1\n", "name"),
        ('"last, first";name\n1;anna\n', "name"),
        ("a;b;c\tname\n1\tanna\n", "name"),
        ("x,pre\u0301nom\n1,anna\n", "pr\xe9nom"),
        ("x,pr\xe9nom\n1,anna\n", " pre\u0301nom"),
    ],
)
def test_a_column_is_found_whatever_the_delimiter_and_the_spelling(table, column):
    assert list(read_bytes(table.encode(), column=column)) == ["anna"]


def test_a_table_without_a_column_is_asked_about(tmp_path):
    rows = "\ufeffname,age\r\nanna,1\r\nbea,2\r\ncarl,3\r\n".encode()
    for name, content in (("t.csv", rows), ("T.CSV.gz", gzip.compress(rows))):
        (tmp_path / name).write_bytes(content)
        done = command("data", tmp_path / name, "--no-counts")
        assert (done.status, done.out) == (2, "")
        assert done.err == (
            f"rungwise: error: {name} is a table: name the --column that holds the words (name, age). Where each line "
            "is one word, rename it to .txt.\n"
        )
    for name, content in (("t.txt", rows), ("t.csv", b"anna\nbea\n"), ("u.txt", b"a\tb\nc\nd\n")):
        (tmp_path / name).write_bytes(content)
        assert command("data", tmp_path / name, "--no-counts").err == ""
    assert command("data", tmp_path / "T.CSV.gz", "--no-counts", "--column", "name").err == ""


@pytest.mark.parametrize(
    ("data", "line"),
    [
        (b'n\tname\n1\t"anna\n2\tbea\n', "some: line 3: unexpected end of data (a quote that is not closed?)."),
        (b'n,name\n1,"anna"x\n', "some: line 2: ',' expected after '\"'."),
    ],
)
def test_quotes_that_would_swallow_words_are_an_error(data, line):
    with pytest.raises(UserError) as caught:
        read_bytes(data, column="name")
    assert str(caught.value) == line
    assert list(read_bytes(b'n\tname\n1\tan"na"\n2\t""\n', column="name")) == ['an"na"']  # inside, or doubled
