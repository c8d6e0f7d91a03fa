"""Files that hold rows, on this machine or elsewhere, as columns of raw values: CSV, TSV, JSON Lines and Parquet.

pyarrow reads them. What it refuses is looked at again, slowly, to say which line is wrong and how to mend it.
"""

import csv
import gzip
import io
import json
import shutil
import zlib
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import IO, Any, cast

import fsspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet

from components.data.raw_values import Array, category
from components.errors import AssayError

CsvOptions = tuple[pyarrow.csv.ReadOptions, pyarrow.csv.ParseOptions, pyarrow.csv.ConvertOptions]

DELIMITERS = {".csv": ",", ".tsv": "\t"}
JSON_LINES = (".jsonl", ".ndjson")
PARQUET = ".parquet"
PACKAGES = {"gs": "gcsfs", "gcs": "gcsfs", "s3": "s3fs", "s3a": "s3fs", "abfs": "adlfs", "az": "adlfs"}
PACKAGES |= {"http": "aiohttp", "https": "aiohttp"}
CHUNK = 1 << 24  # bytes
MAX_ROW_BYTES = 1 << 26  # bytes of a row
MAX_SHOWN = 60  # characters of a value in a message
MAX_LISTED = 8  # names of columns in a message
BLOCK = 1 << 16  # rows of Parquet and JSON Lines that are read at a time


@dataclass(frozen=True)
class Table:
    """The rows of a file."""

    path: Path
    # by name, pyarrow arrays of raw values: of CSV and TSV all text; else also numbers, booleans and dates
    columns: dict[str, Array]
    names: Sequence[str]  # what each row is called: "line 17" where a row is a line, else "row 3"

    def __len__(self) -> int:
        """Return how many rows there are."""
        return len(self.names)


@dataclass(frozen=True)
class Names(Sequence[str]):
    """Names of rows, made only when they are asked for."""

    what: str  # line or row
    numbers: Sequence[int] | np.ndarray  # of each row

    def __len__(self) -> int:
        """Return how many rows there are."""
        return len(self.numbers)

    def __getitem__(self, index: Any) -> Any:
        """Return the name of a row, or the names of a slice of rows."""
        if isinstance(index, slice):
            return Names(self.what, self.numbers[index])
        return f"{self.what} {self.numbers[index]}"


# Elsewhere


@contextmanager
def fetched(name: str, folder: Path) -> Iterator[Path]:
    """Give a file or folder as one on this machine: what is elsewhere is copied below a folder, and removed at the end.

    Args:
        name: a path, or an address such as gs://bucket/file.csv, of any kind that fsspec knows.
        folder: is there.

    Raises:
        AssayError: where it can't be had. Errors within name the address, and not the copy.
    """
    if "://" not in name:
        yield Path(name).expanduser()
        return
    below = folder / "fetched"
    try:
        copy = _copied(name, below)
        try:
            yield copy
        except AssayError as error:
            error.args = (str(error.args[0]).replace(str(copy), name.rstrip("/")), *error.args[1:])
            raise
    finally:
        shutil.rmtree(below, ignore_errors=True)


def _copied(name: str, below: Path) -> Path:
    protocol = name.partition("://")[0]
    try:
        files, path = fsspec.url_to_fs(name)
        path = str(path).rstrip("/")
        copy = below / path.rsplit("/", 1)[-1]
        below.mkdir(parents=True, exist_ok=True)
        if files.isdir(path):
            files.get(f"{path}/", f"{copy}/", recursive=True)
        else:
            files.get_file(path, str(copy))
    except ImportError as error:
        package = PACKAGES.get(protocol)
        raise AssayError(f"{name}: {protocol}:// needs a package: pip install {package or error}") from None
    except FileNotFoundError:
        raise AssayError(f"{name} is not there; expected a file or a folder") from None
    except Exception as error:  # each of fsspec's file systems has kinds of its own
        raise AssayError(f"{name} {_unfetched(error)}") from None
    return copy


def _unfetched(error: Exception) -> str:
    reason = f"{type(error).__name__}: {_first_line(error)}"
    if isinstance(error, ValueError) and "not known" in str(error):
        return f"can't be fetched: {_first_line(error)}; expected gs://, s3://, or another that fsspec knows"
    if isinstance(error, PermissionError) or "credential" in reason.lower() or "forbidden" in reason.lower():
        return f"may not be read by you ({reason}); sign in, or ask its owner for the right to read it"
    return f"can't be fetched ({reason}); is the address right, and is there a network?"


# Any file


def frame(path: Path, delimiter: str | None = None) -> Table:
    """Return the rows of a file; its ending says what it is. Text is UTF-8, and may be compressed: .csv.gz.

    Args:
        path: of the file.
        delimiter: between the columns of .csv and .tsv; None for a comma, or a tab.

    Raises:
        AssayError: for a file that can't be read, with the first line or row that is wrong, and how to mend it.
    """
    with _readable(path) as ending:
        if ending == PARQUET:
            return _parquet(path)
        return _json_lines(path) if ending in JSON_LINES else _csv(path, delimiter or DELIMITERS[ending])


@contextmanager
def _readable(path: Path) -> Iterator[str]:
    """Give the ending of a file that is there and has one of the known ones, in lower case, without .gz.

    Raises:
        AssayError: where there is none such; and for what goes wrong within while it is read.
    """
    if not path.is_file():
        what = "is a folder" if path.is_dir() else "is not there"
        seen_from = "" if path.is_absolute() or path.is_dir() else f" (seen from {Path.cwd()})"
        raise AssayError(f"{path} {what}{seen_from}; expected a file")
    ending = Path(path.name.lower().removesuffix(".gz")).suffix
    known = (*DELIMITERS, *JSON_LINES, PARQUET)
    if ending not in known or path.name.lower().endswith(f"{PARQUET}.gz"):
        hint = "; save it as CSV" if ending in (".xlsx", ".xls", ".ods") else ""
        raise AssayError(f"{path} ends in {path.suffix or 'nothing'}; expected one of {', '.join(known)}{hint}")
    if path.stat().st_size == 0:
        raise AssayError(f"{path} is empty; expected rows")
    try:
        yield ending
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise AssayError(f"{path} is no whole gzip file: {_first_line(error)}; copy it again") from None
    except UnicodeDecodeError:
        raise _no_utf8(path) from None
    except OSError as error:
        raise AssayError(f"can't read {path}: {error.strerror or _first_line(error)}") from None


def blocks(path: Path, needed: Sequence[str]) -> Iterator[Table]:
    """Yield some columns of a file, some rows at a time; otherwise as `frame`. The rows' names count the rows.

    Args:
        path: of the file.
        needed: names of the columns. In .csv and .tsv what is between columns may be any delimiter with which the first
            line has them.

    Raises:
        AssayError: for a file that can't be read, or lacks columns; perhaps after some rows.
    """
    with _readable(path) as ending:
        if ending == PARQUET:
            parts = _parquet_blocks(path, needed)
        else:
            parts = _json_blocks(path, needed) if ending in JSON_LINES else _csv_blocks(path, ending, needed)
        start = 0
        for columns in parts:
            rows = len(columns[needed[0]])
            yield Table(path, columns, Names("row", range(start + 1, start + rows + 1)))
            start += rows
        if not start:
            raise AssayError(f"{path} has no rows; expected rows")


def _check_needed(path: Path, names: Sequence[str], needed: Sequence[str]) -> None:
    """Check that a file has the columns.

    Raises:
        AssayError: with those that are missing.
    """
    lacking = [repr(name) for name in needed if name not in names]
    if lacking:
        more = f", and {len(lacking) - MAX_LISTED} more" if len(lacking) > MAX_LISTED else ""
        has = ", ".join(repr(name) for name in names[:MAX_LISTED]) + (", ..." if len(names) > MAX_LISTED else "")
        raise AssayError(f"{path} lacks columns: {', '.join(lacking[:MAX_LISTED])}{more}; it has {has}")


def _opened(path: Path) -> IO[bytes]:
    return cast(IO[bytes], gzip.open(path, "rb")) if path.name.lower().endswith(".gz") else path.open("rb")


def _text(path: Path) -> Iterator[str]:
    """Yield the lines of a file, with their ends as they are, without a byte order mark."""
    with _opened(path) as file, io.TextIOWrapper(file, "utf-8-sig", newline="") as text:
        yield from text


def _no_utf8(path: Path) -> AssayError:
    """Return the error for a text file that is not UTF-8."""
    with _opened(path) as file:
        for number, line in enumerate(file, 1):
            try:
                line.decode()
            except UnicodeDecodeError as error:
                byte = line[error.start]
                return AssayError(
                    f"{path}, line {number}: byte 0x{byte:02x} is not UTF-8; write the file anew, as with "
                    f"`iconv -f latin1 -t utf-8 {path.name}`"
                )
    return AssayError(f"{path} is not UTF-8; write the file anew, as with `iconv -f latin1 -t utf-8 {path.name}`")


def _first_line(error: Exception) -> str:
    return (str(error) or type(error).__name__).splitlines()[0][:200]


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= MAX_SHOWN else f"{text[: MAX_SHOWN - 3]}..."


def _check_names(path: Path, names: Sequence[str]) -> None:
    """Refuse columns without a name, or with the same one.

    Raises:
        AssayError: with the first.
    """
    for place, name in enumerate(names, 1):
        if not name.strip():
            raise AssayError(f"{path}: column {place} of {len(names)} has no name; give it one in the first line")
    name, count = Counter(names).most_common(1)[0]
    if count > 1:
        places = [str(place) for place, other in enumerate(names, 1) if other == name]
        raise AssayError(f"{path}: columns {' and '.join(places)} are both called {name!r}; give each its own name")


def _check_rows(table: Table) -> Table:
    if not len(table):
        raise AssayError(f"{table.path} has {len(table.columns)} columns and no rows; expected rows")
    return table


# CSV and TSV


def _csv(path: Path, delimiter: str) -> Table:
    lines, quotes = _counted(path)
    names = _header(path, delimiter)
    keys = [str(place) for place in range(len(names))]
    with _bytes(path) as file:
        try:
            read = pyarrow.csv.read_csv(file, *_csv_options(keys, delimiter))
        except pa.ArrowInvalid as error:
            raise _refused(path, delimiter, names, error) from None
    numbers: Sequence[int] | np.ndarray = range(2, len(read) + 2)
    if lines != len(read) + 1 or quotes % 2:  # values with line ends, empty lines, or a quote that is never closed
        numbers = np.array([line for line, _ in _records(path, delimiter)][1:], np.int64)
    # Where the two readers do not agree on the lines, rows are counted instead.
    called = Names("line", numbers) if len(numbers) == len(read) else Names("row", range(1, len(read) + 1))
    return _check_rows(Table(path, dict(zip(names, read.columns, strict=True)), called))


def _csv_options(keys: list[str], delimiter: str) -> CsvOptions:
    """Return pyarrow's options: all columns are text, and are called by the keys."""
    return (
        pyarrow.csv.ReadOptions(column_names=keys, skip_rows_after_names=1, block_size=MAX_ROW_BYTES),
        pyarrow.csv.ParseOptions(delimiter=delimiter, newlines_in_values=True),
        pyarrow.csv.ConvertOptions(column_types=dict.fromkeys(keys, pa.string()), strings_can_be_null=False),
    )


def _csv_blocks(path: Path, ending: str, needed: Sequence[str]) -> Iterator[dict[str, Array]]:
    _counted(path)
    delimiter = next((other for other in (",", ";", "\t", "|") if _has(path, other, needed)), DELIMITERS[ending])
    names = next(_records(path, delimiter, empty=True), (1, []))[1]
    _check_needed(path, names, needed)
    _check_names(path, names)
    places = {name: str(names.index(name)) for name in needed}
    read, parse, convert = _csv_options([str(place) for place in range(len(names))], delimiter)
    convert.include_columns = list(places.values())
    with _bytes(path) as file:
        try:
            for batch in pyarrow.csv.open_csv(file, read, parse, convert):
                yield {name: batch.column(place) for name, place in places.items()}
        except pa.ArrowInvalid as error:
            raise _refused(path, delimiter, names, error) from None


def _has(path: Path, delimiter: str, needed: Sequence[str]) -> bool:
    """Tell whether the first line has the columns, with this between columns."""
    try:
        return set(needed) <= set(next(_records(path, delimiter, empty=True), (1, []))[1])
    except AssayError:  # quotes make no sense with another delimiter
        return False


def _bytes(path: Path) -> IO[bytes] | pa.NativeFile:
    """Return the open file, uncompressed, as pyarrow reads it fastest."""
    return _opened(path) if path.suffix.lower() == ".gz" else pa.OSFile(str(path))


def _counted(path: Path) -> tuple[int, int]:
    """Return how many lines and quotes there are.

    Raises:
        AssayError: for what is no text.
    """
    lines = quotes = 0
    last = b"\n"
    with _opened(path) as file:
        while chunk := file.read(CHUNK):
            if not lines and chunk.startswith((b"\xff\xfe", b"\xfe\xff")):
                raise AssayError(f"{path} is UTF-16; write it anew: `iconv -f utf-16 -t utf-8 {path.name}`")
            if not lines and chunk.startswith((b"PK\x03\x04", b"\xd0\xcf\x11\xe0")):
                raise AssayError(f"{path} is no text, but a workbook of Excel or an archive; save it as CSV (UTF-8)")
            if b"\0" in chunk:
                line = lines + chunk.partition(b"\0")[0].count(b"\n") + 1
                raise AssayError(f"{path}, line {line} has a NUL byte, which no text has; save the file as UTF-8 text")
            lines += chunk.count(b"\n")
            quotes += chunk.count(b'"')
            last = chunk[-1:]
    return lines + (last != b"\n"), quotes


def _header(path: Path, delimiter: str) -> list[str]:
    """Return the names of the columns.

    Raises:
        AssayError: for none, or such as can't be told apart, or a delimiter that is not the file's.
    """
    records = _records(path, delimiter, empty=True)
    names = next(records, (1, []))[1]
    if not any(name.strip() for name in names):
        raise AssayError(f"{path}: the first line is empty; expected the names of the columns")
    if len(names) == 1:
        first = next(records, (2, []))[1]
        for other in (";", "\t", "|", ","):
            if other != delimiter and (other in names[0] or any(other in cell for cell in first)):
                raise AssayError(
                    f"{path} has one column, {_shown(names[0])}, with {delimiter!r} between columns; "
                    f"it has {other!r} in it: pass data.delimiter: {json.dumps(other)}"
                )
    _check_names(path, names)
    return names


def _records(path: Path, delimiter: str, empty: bool = False) -> Iterator[tuple[int, list[str]]]:
    """Yield each row with the number of its first line, the header too; slower than pyarrow, which has no lines.

    Args:
        path: of the file.
        delimiter: between columns.
        empty: yield empty lines too.

    Raises:
        AssayError: for a quote that is not closed, or closed too early.
    """
    csv.field_size_limit(MAX_ROW_BYTES)
    reader = csv.reader(_text(path), delimiter=delimiter, strict=True)
    line = 1
    try:
        for cells in reader:
            if cells or empty:
                yield line, cells
            line = reader.line_num + 1
    except csv.Error as error:
        reason = "a quote is opened and never closed" if "end of data" in str(error) else _first_line(error)
        raise AssayError(f'{path}, line {line}: {reason}; a quote within a quoted value is written twice: ""') from None


def _refused(path: Path, delimiter: str, names: list[str], error: Exception) -> AssayError:
    """Return what is wrong with a file that pyarrow refused."""
    try:
        for line, cells in _records(path, delimiter):
            if len(cells) != len(names):
                return AssayError(
                    f"{path}, line {line}: expected {len(names)} columns, as in the first line, got {len(cells)}; "
                    f"mend the line, or put values that have {delimiter!r} in them into double quotes"
                )
    except AssayError as better:
        return better
    return AssayError(f"{path} can't be read as CSV: {_first_line(error)}")


# JSON Lines


def _json_lines(path: Path) -> Table:
    _counted(path)
    columns: dict[str, list[object]] = {}
    numbers: list[int] = []
    for number, line in enumerate(_text(path), 1):
        if not line.strip():
            continue
        values = _object(path, number, line)
        for name in values:
            if name not in columns:
                columns[name] = [None] * len(numbers)
        for name, column in columns.items():
            column.append(values.get(name))
        numbers.append(number)
    if not columns:
        raise AssayError(f"{path} has no rows; expected an object a line")
    _check_names(path, list(columns))
    names = Names("line", np.array(numbers, np.int64))
    return Table(path, {name: _column(path, name, values, names) for name, values in columns.items()}, names)


def _json_blocks(path: Path, needed: Sequence[str]) -> Iterator[dict[str, Array]]:
    """Yield the columns; a column may be missing in some rows, and must be in one of the first block's."""
    _counted(path)
    objects = (_object(path, number, line) for number, line in enumerate(_text(path), 1) if line.strip())
    start = 0
    while rows := list(islice(objects, BLOCK)):
        if not start:
            _check_needed(path, list(dict.fromkeys(name for row in rows for name in row)), needed)
        names = Names("row", range(start + 1, start + len(rows) + 1))
        yield {name: _column(path, name, [row.get(name) for row in rows], names) for name in needed}
        start += len(rows)


def _object(path: Path, number: int, line: str) -> dict[str, object]:
    """Return the object of a line.

    Raises:
        AssayError: where it is none, or holds lists or objects.
    """
    try:
        values = json.loads(line)
    except ValueError as error:
        hint = "; a list in one file becomes an object a line with `jq -c '.[]'`" if line.strip() in "[{" else ""
        raise AssayError(
            f'{path}, line {number}: is not JSON: {_first_line(error)}; expected an object, such as {{"a": 1}}{hint}'
        ) from None
    if not isinstance(values, dict):
        hint = ": put each of the list's objects on a line of its own" if isinstance(values, list) else ""
        raise AssayError(f'{path}, line {number}: expected an object, such as {{"a": 1}}, got {_shown(values)}{hint}')
    for name, value in values.items():
        if isinstance(value, list | dict):
            raise AssayError(
                f"{path}, line {number}, column {name!r}: expected text, a number, true, false or null, got "
                f"{_shown(value)}; give each of its values a column"
            )
    return values


def _column(path: Path, name: str, values: list[object], names: Names) -> Array:
    """Return values of JSON as an array; of several types they become text.

    Raises:
        AssayError: for text that is none.
    """
    try:
        array = pa.array(values)
        return array if array.type != pa.null() else array.cast(pa.string())
    except UnicodeEncodeError:
        row = next(i for i, v in enumerate(values) if isinstance(v, str) and any("\ud800" <= c <= "\udfff" for c in v))
        raise AssayError(
            f"{path}, {names[row]}, column {name!r}: {_shown(values[row])} has half a character (\\ud800 to \\udfff "
            "come in pairs); mend or remove it"
        ) from None
    except (pa.ArrowException, OverflowError):
        return pa.array([None if value is None else category(value) for value in values], pa.string())


# Parquet


def _parquet(path: Path) -> Table:
    try:
        file = pyarrow.parquet.ParquetFile(path)
        _check_names(path, file.schema_arrow.names)
        read = file.read()
        read.validate(full=True)  # text may be no UTF-8
    except (pa.ArrowException, OSError) as error:
        raise _no_parquet(path, error) from None
    columns = {
        name: _plain(path, name, column)
        for name, column in zip(read.column_names, read.columns, strict=True)
        if not (name.startswith("__index_level_") and name.endswith("__"))  # pandas' row numbers
    }
    return _check_rows(Table(path, columns, Names("row", range(1, len(read) + 1))))


def _parquet_blocks(path: Path, needed: Sequence[str]) -> Iterator[dict[str, Array]]:
    try:
        file = pyarrow.parquet.ParquetFile(path)
        _check_names(path, file.schema_arrow.names)
        _check_needed(path, file.schema_arrow.names, needed)
        for batch in file.iter_batches(BLOCK, columns=list(needed)):
            batch.validate(full=True)  # text may be no UTF-8
            yield {name: _plain(path, name, batch.column(name)) for name in needed}
    except (pa.ArrowException, OSError) as error:
        raise _no_parquet(path, error) from None


def _no_parquet(path: Path, error: Exception) -> Exception:
    """Return what is said of a file that pyarrow can't read as Parquet."""
    if isinstance(error, PermissionError):
        return error
    return AssayError(f"{path} can't be read as Parquet: {_first_line(error)}; write or copy it again")


def _plain(path: Path, name: str, column: Array) -> Array:
    """Return a column as text, numbers, booleans or dates.

    Raises:
        AssayError: where it is none of them.
    """
    if pa.types.is_dictionary(column.type):
        column = pc.cast(column, column.type.value_type)
    as_text = (pa.types.is_decimal, pa.types.is_null, pa.types.is_string_view, pa.types.is_large_string)
    if any(test(column.type) for test in as_text):
        return pc.cast(column, pa.string())
    plain = (pa.types.is_string, pa.types.is_integer, pa.types.is_floating, pa.types.is_boolean, pa.types.is_temporal)
    if any(test(column.type) for test in plain):
        return column
    raise AssayError(
        f"{path}, column {name!r} is of type {column.type}; expected numbers, text, true or false, or dates: "
        "give each of its values a column, or leave the column out"
    )
