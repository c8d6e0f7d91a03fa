"""Secrets that must come out nowhere, and the search for them."""

import base64
import gzip
import tarfile
import zipfile
from collections.abc import Iterable, Iterator
from io import BufferedReader
from pathlib import Path
from typing import IO, cast

PLANTED = b"pl4nted-"  # every secret begins with it
PASSWORD, TOKEN = "pl4nted-p4ssw0rd", "pl4nted-t0ken"
NAME = "ann"
LOGIN = base64.b64encode(f"{NAME}:{PASSWORD}".encode())  # how HTTP carries it
CHUNK = 2**22


def found_in(contents: Iterable[tuple[str, IO[bytes]]], *wanted: bytes) -> dict[bytes, set[str]]:
    """Return the names of the contents in which each of these strings is."""
    found: dict[bytes, set[str]] = {text: set() for text in wanted}
    longest = max(map(len, wanted))
    for name, stream in contents:
        last = b""
        while chunk := stream.read(CHUNK):
            last += chunk
            for text in wanted:
                if text in last:
                    found[text].add(name)
            last = last[-longest:]
    return found


def files_below(folder: Path) -> Iterator[tuple[str, IO[bytes]]]:
    """All files, and what is in those that are archives."""
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        with path.open("rb") as stream:
            yield path.name, stream
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                for name in archive.namelist():
                    with archive.open(name) as stream:
                        yield f"{path.name}/{name}", stream


def files_of_image(saved: IO[bytes]) -> Iterator[tuple[str, IO[bytes]]]:
    """What `docker save` writes: each layer whole, and the description and the history of the image."""
    with tarfile.open(fileobj=saved, mode="r|") as archive:
        for member in archive:
            if stream := archive.extractfile(member):
                packed = cast(BufferedReader, stream).peek(2)[:2] == b"\x1f\x8b"  # as newer engines keep layers
                yield member.name, cast(IO[bytes], gzip.GzipFile(fileobj=stream)) if packed else stream
