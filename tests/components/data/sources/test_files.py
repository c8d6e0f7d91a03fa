"""Files as columns: what each format gives, and one message with its line for each kind of damage."""

import gzip
import json
import os
import random
import sys
from pathlib import Path

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from components.data.sources.files import Names, blocks, fetched, frame
from components.errors import AssayError

VALUES = {"a": ["1", "2", ""], "b": ["x", "y, z", 'say "hi"']}
CSV = 'a,b\n1,x\n2,"y, z"\n,"say ""hi"""\n'


def write(file: Path, content: str | bytes) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(content.encode() if isinstance(content, str) else content)
    return file


def values(file: Path, delimiter: str | None = None) -> dict[str, list]:
    return {name: column.to_pylist() for name, column in frame(file, delimiter).columns.items()}


def refusal(file: Path, delimiter: str | None = None) -> str:
    with pytest.raises(AssayError) as caught:
        frame(file, delimiter)
    assert "\n" not in str(caught.value)
    return str(caught.value)


# CSV and TSV


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("plain.csv", CSV.encode()),
        ("bom.csv", b"\xef\xbb\xbf" + CSV.encode()),
        ("crlf.csv", CSV.replace("\n", "\r\n").encode()),
        ("cr.csv", CSV.replace("\n", "\r").encode()),
        ("cut.CSV", CSV.encode()[:-1]),
        ("blank.csv", CSV.encode() + b"\n\n"),
        ("small.csv.gz", gzip.compress(CSV.encode(), mtime=0)),
        ("tabs.tsv", b'a\tb\n1\tx\n2\t"y, z"\n\t"say ""hi"""\n'),
    ],
)
def test_text_files_of_every_sort_have_the_same_values(tmp_path, name, content):
    table = frame(write(tmp_path / name, content))
    assert {column: array.to_pylist() for column, array in table.columns.items()} == VALUES
    assert (len(table), list(table.names)) == (3, ["line 2", "line 3", "line 4"])


def test_any_delimiter_can_be_said(tmp_path):
    assert values(write(tmp_path / "x.csv", "a;b\n1,5;x\n"), ";") == {"a": ["1,5"], "b": ["x"]}


def test_a_row_is_called_by_its_first_line_where_values_have_line_ends_and_lines_are_empty(tmp_path):
    table = frame(write(tmp_path / "x.csv", 'a,b\n1,"two\nlines"\n\n2,"th\r\nree"\n3,5" pipe\n'))
    assert table.columns["b"].to_pylist() == ["two\nlines", "th\r\nree", '5" pipe']
    assert list(table.names) == ["line 2", "line 5", "line 7"]


def test_a_very_long_value_is_read(tmp_path):
    long = "word " * 1_000_000
    assert values(write(tmp_path / "x.csv", f'a,b\n1,"{long}\n"\n'))["b"] == [f"{long}\n"]


def test_names_of_rows_are_made_when_they_are_asked_for():
    names = Names("line", range(2, 1_000_002))
    assert (len(names), names[0], names[-1]) == (1_000_000, "line 2", "line 1000001")
    assert list(names[:2]) == ["line 2", "line 3"]


# JSON Lines and Parquet


def test_json_lines_keep_their_types_and_lack_what_is_not_there(tmp_path):
    rows = [{"a": 1, "t": "x"}, {"t": "é", "b": True}, {"a": 2.5, "t": None, "b": False}]
    content = "\n\n".join(json.dumps(row) for row in rows)
    table = frame(write(tmp_path / "x.jsonl", "\ufeff" + content))
    assert {name: column.to_pylist() for name, column in table.columns.items()} == {
        "a": [1.0, None, 2.5],
        "t": ["x", "é", None],
        "b": [None, True, False],
    }
    assert list(table.names) == ["line 1", "line 3", "line 5"]


def test_json_of_several_types_becomes_text_as_a_served_model_reads_it(tmp_path):
    content = '{"a": 1.0}\n{"a": "NA"}\n{"a": true}\n{"a": 1e400}\n'
    assert values(write(tmp_path / "x.ndjson", content)) == {"a": ["1", "NA", "True", "inf"]}


def test_parquet_has_types(tmp_path):
    table = pa.table(
        {
            "i": pa.array([1, None], pa.int32()),
            "f": pa.array([1.5, 2.5], pa.float32()),
            "d": pa.array(["1.50", "2.25"]).cast(pa.decimal128(5, 2)),
            "s": pa.array(["x", None], pa.large_string()),
            "c": pa.array(["x", "y"]).dictionary_encode(),
            "n": pa.nulls(2),
            "__index_level_0__": [7, 8],
        }
    )
    pq.write_table(table, tmp_path / "x.parquet")
    read = frame(tmp_path / "x.parquet")
    assert {name: column.to_pylist() for name, column in read.columns.items()} == {
        "i": [1, None],
        "f": [1.5, 2.5],
        "d": ["1.50", "2.25"],
        "s": ["x", None],
        "c": ["x", "y"],
        "n": [None, None],
    }
    assert list(read.names) == ["row 1", "row 2"]


# Damage

TEXTS = [
    ("empty.csv", "", ["empty.csv is empty"]),
    ("empty.jsonl", "\n \n", ["has no rows"]),
    ("head.csv", "a,b\n", ["has 2 columns and no rows"]),
    ("late.csv", "\na,b\n1,2\n", ["the first line is empty", "expected the names of the columns"]),
    ("ragged.csv", "a,b\n1,2\n3,4\n5,6,7\n8\n", ["line 4: expected 2 columns", "got 3", "double quotes"]),
    ("short.csv", 'a,b\n1,"x\ny"\n3\n', ["line 4: expected 2 columns", "got 1"]),
    ("semi.csv", "a;b\n1,5;2\n", ["has one column", 'pass data.delimiter: ";"']),
    ("tab.csv", "a\tb\n1\t2\n", ['pass data.delimiter: "\\t"']),
    ("comma.tsv", "a,b\n1,2\n", ['pass data.delimiter: ","']),
    ("rows.csv", "a\n1|2\n", ['pass data.delimiter: "|"']),
    ("twice.csv", "a,b,a\n1,2,3\n", ["columns 1 and 3 are both called 'a'"]),
    ("nameless.csv", "a,,c\n1,2,3\n", ["column 2 of 3 has no name"]),
    ("latin.csv", b"a,b\n1,2\n3,caf\xe9\n", ["line 3: byte 0xe9 is not UTF-8", "iconv -f latin1 -t utf-8 latin.csv"]),
    ("latinhead.csv", b"a,caf\xe9\n1,2\n", ["line 1: byte 0xe9 is not UTF-8"]),
    ("latin.jsonl", b'{"a": "caf\xe9"}\n', ["line 1: byte 0xe9 is not UTF-8"]),
    ("utf16.csv", "a,b\n1,2\n".encode("utf-16"), ["is UTF-16", "iconv -f utf-16"]),
    ("nul.csv", b"a,b\n1,2\n3,\0\n", ["line 3 has a NUL byte"]),
    ("excel.csv", b"PK\x03\x04....", ["workbook of Excel", "save it as CSV"]),
    ("excel.xlsx", b"PK\x03\x04....", ["ends in .xlsx", "expected one of .csv, .tsv, .jsonl", "save it as CSV"]),
    ("x.txt", "a", ["ends in .txt; expected one of .csv, .tsv, .jsonl, .ndjson, .parquet"]),
    ("nothing", "a", ["ends in nothing"]),
    ("open.csv", 'a,b\n1,"x"\n2,"y\n3,z\n', ["line 3: a quote is opened and never closed"]),
    ("openend.csv", 'a,b\n1,x\n2,"y', ["line 3: a quote is opened and never closed"]),
    ("garbage.csv", 'a,b\n1,"x"y"\n', ["line 2:", 'written twice: ""']),
    ("word.jsonl", '{"a": 1}\nword\n', ["line 2: is not JSON", "expected an object"]),
    ("list.jsonl", "[\n{}\n]\n", ["line 1: is not JSON", "jq -c '.[]'"]),
    ("array.jsonl", "[1, 2]\n", ["line 1: expected an object", "got [1, 2]", "on a line of its own"]),
    ("nested.jsonl", '{"a": 1}\n{"a": {"b": 1}}\n', ["line 2, column 'a'", "got {'b': 1}", "a column"]),
    ("half.jsonl", '{"a": "x"}\n{"a": "\\ud83d"}\n', ["line 2, column 'a'", "half a character"]),
    ("noname.jsonl", '{"": 1}\n', ["column 1 of 1 has no name"]),
    ("broken.parquet", b"PAR1 but not really PAR1", ["can't be read as Parquet"]),
    ("broken.csv.gz", b"not gzip", ["is no whole gzip file"]),
    (
        "cut.csv.gz",
        gzip.compress(random.Random(0).randbytes(1000).hex().encode(), mtime=0)[:-20],
        ["is no whole gzip file", "copy it again"],
    ),
]


@pytest.mark.parametrize(("name", "content", "words"), TEXTS, ids=[name for name, _, _ in TEXTS])
def test_a_file_that_cannot_be_read_is_one_message(tmp_path, name, content, words):
    message = refusal(write(tmp_path / name, content))
    assert str(tmp_path / name) in message
    for word in words:
        assert word in message


def test_what_is_no_file_is_one_message(tmp_path, monkeypatch):
    assert "x.csv is not there" in refusal(tmp_path / "x.csv")
    assert "is a folder; expected a file" in refusal(tmp_path)
    monkeypatch.chdir(tmp_path)
    assert f"(seen from {tmp_path})" in refusal(Path("x.csv"))


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_without_permission_is_one_message(tmp_path):
    write(tmp_path / "x.csv", CSV).chmod(0)
    assert "x.csv: Permission denied" in refusal(tmp_path / "x.csv")


@pytest.mark.parametrize(
    ("column", "words"),
    [
        (pa.array([[1], [2]]), ["column 'a' is of type list", "a column"]),
        (pa.array([{"x": 1}, {"x": 2}]), ["column 'a' is of type struct"]),
        (pa.array([b"1", b"2"]), ["column 'a' is of type binary"]),
        (pa.Array.from_buffers(pa.string(), 1, pa.array([b"caf\xe9"]).buffers()), ["can't be read as Parquet", "UTF8"]),
        (pa.array([], pa.int64()), ["has 1 columns and no rows"]),
    ],
)
def test_parquet_that_is_no_table_of_values_is_one_message(tmp_path, column, words):
    pq.write_table(pa.table({"a": column}), tmp_path / "x.parquet")
    message = refusal(tmp_path / "x.parquet")
    for word in words:
        assert word in message


# Elsewhere


@pytest.fixture
def memory():
    """Another file system, that fsspec has."""
    files = fsspec.filesystem("memory")
    yield files
    files.rm("/", recursive=True)


def test_what_is_here_stays_where_it_is(tmp_path):
    file = write(tmp_path / "x.csv", CSV)
    with fetched(str(file), tmp_path / "scratch") as path:
        assert path == file
    assert file.exists()


def test_a_file_elsewhere_is_here_for_a_while(tmp_path, memory):
    memory.pipe("/bucket/x.csv", CSV.encode())
    with fetched("memory://bucket/x.csv", tmp_path) as path:
        assert path.is_relative_to(tmp_path)
        assert values(path) == VALUES
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("end", ["", "/"])
def test_a_folder_elsewhere_is_copied_whole(tmp_path, memory, end):
    for name in ("cat/1.txt", "cat/more/2.txt", "dog/3.txt"):
        memory.pipe(f"/bucket/pets/{name}", name.encode())
    with fetched(f"memory://bucket/pets{end}", tmp_path) as path:
        found = {str(file.relative_to(path)): file.read_text() for file in path.rglob("*.txt")}
    assert found == {name: name for name in ("cat/1.txt", "cat/more/2.txt", "dog/3.txt")}


def test_errors_name_the_address_and_not_the_copy(tmp_path, memory):
    memory.pipe("/bucket/x.csv", b"a,b\n1\n")
    with pytest.raises(AssayError) as caught, fetched("memory://bucket/x.csv", tmp_path) as path:
        frame(path)
    assert str(caught.value).startswith("memory://bucket/x.csv, line 2: expected 2 columns")
    assert list(tmp_path.iterdir()) == []


class Closed(type(fsspec.filesystem("memory"))):
    """A file system whose owner lets nobody in."""

    protocol = "closed"

    def get_file(self, *_, **__):
        raise PermissionError("Access Denied")


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("memory://bucket/none.csv", ["memory://bucket/none.csv is not there"]),
        ("nosuch://bucket/x.csv", ["can't be fetched", "expected gs://, s3://"]),
        ("closed://bucket/x.csv", ["may not be read by you", "Access Denied", "ask its owner"]),
        ("ftp://127.0.0.1:1/x.csv", ["can't be fetched", "refused", "is there a network?"]),
    ],
)
def test_what_cannot_be_fetched_is_one_message(tmp_path, memory, name, words):
    fsspec.register_implementation("closed", Closed, clobber=True)
    with pytest.raises(AssayError) as caught, fetched(name, tmp_path):
        pass
    for word in words:
        assert word in str(caught.value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("name", "package"), [("gs://bucket/x.csv", "gcsfs"), ("s3://bucket/x.csv", "s3fs")])
def test_a_package_that_is_missing_is_named(tmp_path, monkeypatch, name, package):
    monkeypatch.setitem(sys.modules, package, None)  # as if it were not installed
    with pytest.raises(AssayError, match=f"needs a package: pip install {package}$"), fetched(name, tmp_path):
        pass


# Some rows at a time


@pytest.mark.parametrize("ending", ["csv", "tsv.gz", "jsonl", "parquet"])
def test_blocks_have_the_rows_of_the_whole_file(tmp_path, monkeypatch, ending):
    rows = 1000
    table = pa.table(
        {"n": range(rows), "note": [f'a "b"; {i}\nc' for i in range(rows)], "x": [i / 7 for i in range(rows)]}
    )
    path = tmp_path / f"rows.{ending}"
    if ending == "parquet":
        pq.write_table(table, path)
    elif ending == "jsonl":
        path.write_text("".join(json.dumps(row) + "\n\n" for row in table.to_pylist()))
    else:
        table.to_pandas().to_csv(path, index=False, sep="\t" if ending == "tsv.gz" else ",")
    whole = frame(path)
    monkeypatch.setattr("components.data.sources.files.BLOCK", 64)
    monkeypatch.setattr("components.data.sources.files.MAX_ROW_BYTES", 1 << 11)
    parts = list(blocks(path, ["x", "note"]))
    assert len(parts) > 5
    for name in ("x", "note"):
        read = [value for part in parts for value in part.column(name).to_pylist()]
        assert read == whole.columns[name].to_pylist()


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_blocks_find_the_delimiter_by_the_columns(tmp_path, delimiter):
    path = write(tmp_path / "a.csv", f'"a, b"{delimiter}"c; d"\n1{delimiter}2\n')
    (part,) = blocks(path, ["c; d", "a, b"])
    assert part.to_pydict() == {"c; d": ["2"], "a, b": ["1"]}


@pytest.mark.parametrize(
    ("name", "content"),
    [("a.csv", "a,b\n1,2\n"), ("a.jsonl", '{"a": 1}\n{"b": 2}\n')],
)
def test_blocks_name_columns_that_are_missing(tmp_path, name, content):
    path = write(tmp_path / name, content)
    with pytest.raises(AssayError, match="lacks columns: 'c', 'd'; it has 'a', 'b'"):
        list(blocks(path, ["a", "c", "d"]))
