"""Files that hold rows, on this machine or elsewhere, as columns of raw values: CSV, TSV, JSON Lines and Parquet.

pyarrow reads them. What it refuses is looked at again, slowly, to say which line is wrong and how to mend it.
"""

import csv
import gzip
import io
import json
import re
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
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet
from pyarrow import types

from components.data.issues import first_line, some
from components.data.raw_values import Array, category
from components.errors import AssayError

DELIMITERS = {".csv": ",", ".tsv": "\t"}
JSON_LINES = (".jsonl", ".ndjson")
PARQUET = ".parquet"
CHUNK = 1 << 24  # bytes
MAX_ROW_BYTES = 1 << 26  # bytes of a row
MAX_SHOWN = 60  # characters of a value in a message
BLOCK = 1 << 16  # rows of Parquet and JSON Lines that are read at a time

Objects = Sequence[tuple[int, dict[str, object]]]  # of JSON Lines, each with the number of its line


@dataclass(frozen=True)
class Table:
    """The rows of a file."""

    path: Path
    # by name, pyarrow arrays of raw values: of CSV and TSV all text; else also numbers, booleans and dates
    columns: dict[str, Array]
    names: Sequence[str]  # what each row is called: "line 17" where a row is a line, else "row 3"

    def __len__(self) -> int:
        return len(self.names)


@dataclass(frozen=True)
class Names(Sequence[str]):
    """Names of rows, made only when they are asked for."""

    what: str  # line or row
    numbers: Sequence[int]  # of each row

    def __len__(self) -> int:
        return len(self.numbers)

    def __getitem__(self, index: Any) -> Any:
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
    try:
        files, path = fsspec.url_to_fs(name)
        path = str(path).rstrip("/")
        copy = below / path.rsplit("/", 1)[-1]
        below.mkdir(parents=True, exist_ok=True)
        if files.isdir(path):
            files.get(f"{path}/", f"{copy}/", recursive=True)
        else:
            files.get_file(path, str(copy))
        return copy
    except ImportError as error:
        package = getattr(error.__cause__, "name", None) or error
        raise AssayError(f"{name}: {name.partition(':')[0]}:// needs a package: pip install {package}") from None
    except FileNotFoundError:
        raise AssayError(f"{name} is not there; expected a file or a folder") from None
    except Exception as error:  # each of fsspec's file systems has kinds of its own
        raise AssayError(f"{name} {_unfetched(error)}") from None


def _unfetched(error: Exception) -> str:
    reason = f"{type(error).__name__}: {first_line(error)}"
    if isinstance(error, ValueError) and "not known" in str(error):
        return f"can't be fetched: {first_line(error)}; expected gs://, s3://, or another that fsspec knows"
    if isinstance(error, PermissionError) or "credential" in reason.lower() or "forbidden" in reason.lower():
        return f"may not be read by you ({reason}); sign in, or ask its owner for the right to read it"
    return f"can't be fetched ({reason}); is the address right, and is there a network?"


# Any file


def frame(path: Path, delimiter: str | None = None) -> Table:
    """Return the rows of a file; its ending says what it is. Text is UTF-8, and may be compressed: .csv.gz.

    Between the columns of .csv and .tsv is the delimiter; without one, a comma or a tab.

    Raises:
        AssayError: for a file that can't be read, with the first line or row that is wrong, and how to mend it.
    """
    with _readable(path) as ending:
        if ending in DELIMITERS:
            rows, names = _csv(path, delimiter or DELIMITERS[ending])
        elif ending in JSON_LINES:
            objects = list(_objects(path))
            rows = _json_block(path, objects, _json_names(path, objects))
            names = Names("line", [line for line, _ in objects])
        else:
            rows = pa.concat_tables(_parquet_blocks(path))
            names = Names("row", range(1, len(rows) + 1))
    return Table(path, dict(zip(rows.column_names, rows.columns, strict=True)), names)


def blocks(path: Path, needed: Sequence[str]) -> Iterator[pa.Table]:
    """Yield some columns of a file, some rows at a time; otherwise as `frame`.

    In .csv and .tsv there may be any delimiter with which the first line has the columns that are needed.

    Raises:
        AssayError: for a file that can't be read, or lacks columns; perhaps after some rows.
    """
    with _readable(path) as ending:
        if ending in DELIMITERS:
            _counted(path)
            delimiters = (delimiter for delimiter in ",;\t|" if _has(path, delimiter, needed))
            yield from _csv_blocks(path, next(delimiters, DELIMITERS[ending]), needed)
        elif ending in JSON_LINES:
            yield from _json_blocks(path, needed)
        else:
            yield from _parquet_blocks(path, needed)


@contextmanager
def _readable(path: Path) -> Iterator[str]:
    """Give the ending of a file, in lower case, without .gz, and refuse the file for what goes wrong within."""
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
        raise AssayError(f"{path} is no whole gzip file: {first_line(error)}; copy it again") from None
    except UnicodeDecodeError:
        raise _no_utf8(path) from None
    except OSError as error:
        raise AssayError(f"can't read {path}: {error.strerror or first_line(error)}") from None


def _no_utf8(path: Path) -> AssayError:
    with _opened(path) as file:
        content = file.read()
    where = ""
    try:
        content.decode()
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        where = f", line {line}: byte 0x{content[error.start]:02x}"
    mend = f"write the file anew, as with `iconv -f latin1 -t utf-8 {path.name}`"
    return AssayError(f"{path}{where} is not UTF-8; {mend}")


def _opened(path: Path) -> IO[bytes]:
    return cast(IO[bytes], gzip.open(path, "rb")) if path.name.lower().endswith(".gz") else path.open("rb")


def _text(path: Path) -> Iterator[str]:
    """Yield the lines of a file, with their ends as they are, without a byte order mark."""
    with _opened(path) as file, io.TextIOWrapper(file, "utf-8-sig", newline="") as text:
        yield from text


def _counted(path: Path) -> tuple[int, int]:
    """Return how many lines and quotes there are, and refuse what is no text."""
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


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= MAX_SHOWN else f"{text[: MAX_SHOWN - 3]}..."


def _check_names(path: Path, names: Sequence[str], needed: Sequence[str]) -> None:
    """Refuse columns without a name, or with the same one, and where one is missing that is needed."""
    for place, name in enumerate(names, 1):
        if not name.strip():
            raise AssayError(f"{path}: column {place} of {len(names)} has no name; give it one in the first line")
    for name, count in Counter(names).most_common(1):
        if count > 1:
            places = [str(place) for place, other in enumerate(names, 1) if other == name]
            raise AssayError(f"{path}: columns {' and '.join(places)} are both called {name!r}; give each its own name")
    lacking = [repr(name) for name in needed if name not in names]
    if lacking:
        raise AssayError(f"{path} lacks columns: {some(lacking)}; it has {some([repr(name) for name in names])}")


def _no_rows(path: Path, names: Sequence[str]) -> AssayError:
    columns = f"{len(names)} columns and " if names else ""
    return AssayError(f"{path} has {columns}no rows; expected rows")


# CSV and TSV


def _csv(path: Path, delimiter: str) -> tuple[pa.Table, Names]:
    lines, quotes = _counted(path)
    _check_delimiter(path, delimiter)
    rows = pa.concat_tables(_csv_blocks(path, delimiter))
    numbers: Sequence[int] = range(2, len(rows) + 2)
    if lines != len(rows) + 1 or quotes % 2:  # values with line ends, empty lines, or a quote that is never closed
        numbers = [line for line, _ in _records(path, delimiter)][1:]
    # Where the two readers do not agree on the lines, rows are counted instead.
    return rows, Names("line", numbers) if len(numbers) == len(rows) else Names("row", range(1, len(rows) + 1))


def _csv_blocks(path: Path, delimiter: str, needed: Sequence[str] = ()) -> Iterator[pa.Table]:
    """Yield the columns that are needed, or all, as text."""
    names = _first(path, delimiter)
    if not any(name.strip() for name in names):
        raise AssayError(f"{path}: the first line is empty; expected the names of the columns")
    _check_names(path, names, needed)
    keys = [str(place) for place in range(len(names))]
    places = {name: str(names.index(name)) for name in needed or names}
    read = pyarrow.csv.ReadOptions(column_names=keys, skip_rows_after_names=1, block_size=MAX_ROW_BYTES)
    parse = pyarrow.csv.ParseOptions(delimiter=delimiter, newlines_in_values=True)
    convert = pyarrow.csv.ConvertOptions(
        column_types=dict.fromkeys(keys, pa.string()), strings_can_be_null=False, include_columns=list(places.values())
    )
    rows = 0
    try:
        # Uncompressed, as pyarrow reads it fastest.
        with _opened(path) if path.suffix.lower() == ".gz" else pa.OSFile(str(path)) as file:
            for batch in pyarrow.csv.open_csv(file, read, parse, convert):
                rows += len(batch)
                yield pa.table(batch.columns, list(places))
    except pa.ArrowInvalid as error:
        raise _refused(path, delimiter, names, error) from None
    if not rows:
        raise _no_rows(path, () if needed else names)


def _first(path: Path, delimiter: str) -> list[str]:
    """Return the cells of the first line."""
    return next(_records(path, delimiter, empty=True), (1, []))[1]


def _has(path: Path, delimiter: str, needed: Sequence[str]) -> bool:
    """Tell whether the first line has the columns, with this between columns."""
    try:
        return set(needed) <= set(_first(path, delimiter))
    except AssayError:  # quotes make no sense with another delimiter
        return False


def _check_delimiter(path: Path, delimiter: str) -> None:
    """Refuse a file of one column whose first lines have another delimiter in them."""
    lines = [cells for _, cells in islice(_records(path, delimiter, empty=True), 2)]
    if lines and len(lines[0]) == 1:
        for other in ";\t|,":
            if other != delimiter and any(other in cell for cells in lines for cell in cells):
                raise AssayError(
                    f"{path} has one column, {_shown(lines[0][0])}, with {delimiter!r} between columns; "
                    f"it has {other!r} in it: pass data.delimiter: {json.dumps(other)}"
                )


def _records(path: Path, delimiter: str, empty: bool = False) -> Iterator[tuple[int, list[str]]]:
    """Yield each row with the number of its first line, the header too; slower than pyarrow, which has no lines."""
    csv.field_size_limit(MAX_ROW_BYTES)
    reader = csv.reader(_text(path), delimiter=delimiter, strict=True)
    line = 1
    try:
        for cells in reader:
            if cells or empty:
                yield line, cells
            line = reader.line_num + 1
    except csv.Error as error:
        reason = "a quote is opened and never closed" if "end of data" in str(error) else first_line(error)
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
    return AssayError(f"{path} can't be read as CSV: {first_line(error)}")


# JSON Lines


def _json_blocks(path: Path, needed: Sequence[str]) -> Iterator[pa.Table]:
    """Yield the columns; a column may be missing in some rows, and must be in one of the first block's."""
    objects = _objects(path)
    rows = list(islice(objects, BLOCK))
    _json_names(path, rows, needed)
    while rows:
        yield _json_block(path, rows, needed)
        rows = list(islice(objects, BLOCK))


def _objects(path: Path) -> Iterator[tuple[int, dict[str, object]]]:
    """Yield the objects, each with the number of its line."""
    _counted(path)
    for number, line in enumerate(_text(path), 1):
        if not line.strip():
            continue
        where = f"{path}, line {number}"
        try:
            values = json.loads(line)
        except ValueError as error:
            hint = "; a list in one file becomes an object a line with `jq -c '.[]'`" if line.strip() in "[{" else ""
            raise AssayError(
                f'{where}: is not JSON: {first_line(error)}; expected an object, such as {{"a": 1}}{hint}'
            ) from None
        if not isinstance(values, dict):
            hint = ": put each of the list's objects on a line of its own" if isinstance(values, list) else ""
            raise AssayError(f'{where}: expected an object, such as {{"a": 1}}, got {_shown(values)}{hint}')
        for name, value in values.items():
            if isinstance(value, list | dict):
                raise AssayError(
                    f"{where}, column {name!r}: expected text, a number, true, false or null, got {_shown(value)}; "
                    "give each of its values a column"
                )
        yield number, values


def _json_names(path: Path, rows: Objects, needed: Sequence[str] = ()) -> list[str]:
    names = list(dict.fromkeys(name for _, row in rows for name in row))
    if not names:
        raise AssayError(f"{path} has no rows; expected an object a line")
    _check_names(path, names, needed)
    return names


def _json_block(path: Path, rows: Objects, names: Sequence[str]) -> pa.Table:
    """Return columns; values of several types become text."""
    columns = []
    for name in names:
        values = [row.get(name) for _, row in rows]
        try:
            array = pa.array(values)
        except UnicodeEncodeError:
            halves = re.compile("[\ud800-\udfff]")
            line, value = next((line, row[name]) for line, row in rows if halves.search(str(row.get(name))))
            raise AssayError(
                f"{path}, line {line}, column {name!r}: {_shown(value)} has half a character (\\ud800 to \\udfff "
                "come in pairs); mend or remove it"
            ) from None
        except (pa.ArrowException, OverflowError):
            array = pa.array([None if value is None else category(value) for value in values], pa.string())
        columns.append(array.cast(pa.string()) if types.is_null(array.type) else array)
    return pa.table(columns, list(names))


# Parquet


def _parquet_blocks(path: Path, needed: Sequence[str] = ()) -> Iterator[pa.Table]:
    """Yield the columns that are needed, or all but pandas' row numbers, as text, numbers, booleans or dates."""
    try:
        file = pyarrow.parquet.ParquetFile(path)
        names = file.schema_arrow.names
        _check_names(path, names, needed)
        used = needed or [name for name in names if not re.fullmatch("__index_level_.*__", name)]
        if not file.metadata.num_rows:
            raise _no_rows(path, () if needed else used)
        for batch in file.iter_batches(BLOCK, columns=list(used)):
            batch.validate(full=True)  # text may be no UTF-8
            yield pa.table([_plain(path, name, batch.column(name)) for name in used], list(used))
    except PermissionError:
        raise
    except (pa.ArrowException, OSError) as error:
        raise AssayError(f"{path} can't be read as Parquet: {first_line(error)}; write or copy it again") from None


def _plain(path: Path, name: str, column: Array) -> Array:
    kind = column.type
    if types.is_dictionary(kind):
        return _plain(path, name, pc.cast(column, kind.value_type))
    if types.is_decimal(kind) or types.is_null(kind) or types.is_string_view(kind) or types.is_large_string(kind):
        return pc.cast(column, pa.string())
    if types.is_primitive(kind) or types.is_string(kind):  # numbers, booleans, dates and times
        return column
    raise AssayError(
        f"{path}, column {name!r} is of type {column.type}; expected numbers, text, true or false, or dates: "
        "give each of its values a column, or leave the column out"
    )
