"""Users' own texts, in a file or in folders: the same rows from both, and a message for what can't be used."""

import json
import random
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from components.data.raw_values import tokens
from components.data.sources import Rows, read
from components.errors import AssayError
from components.study.dataset import DatasetSpec

CSV = """text,target,who,when
"Well, well",good,ann,2026-01-02
No well!,bad,bob,2026-01-01
"no
no no",bad,ann,2026-01-03
"""


def read_text(path: Path, scratch: Path | None = None, **data) -> Rows:
    return read(DatasetSpec.model_validate({"source": f"text:{path}", **data}), scratch or path.parent)


def texts(rows: Rows) -> list[str]:
    """Return the words of each row."""
    words = np.array(["", *rows.words])
    return [" ".join(words[row[row > 0]]) for row in rows.x]


def write(file: Path, content: str | bytes) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(content.encode() if isinstance(content, str) else content)
    return file


@pytest.fixture
def root(tmp_path) -> Path:
    """Two classes with two texts each."""
    for name, content in {"good/1": "Well, well", "good/2": "Oh well", "bad/1": "No!", "bad/2": "no\nno no"}.items():
        write(tmp_path / "said" / f"{name}.txt", content)
    return tmp_path / "said"


def refusal(path: Path, **data) -> str:
    with pytest.raises(AssayError) as caught:
        read_text(path, **data)
    assert "\n" not in str(caught.value)
    return str(caught.value)


# Files


def test_words_are_numbered_in_the_order_of_the_alphabet(tmp_path):
    rows = read_text(write(tmp_path / "x.csv", CSV))
    assert rows.words == ("!", ",", "no", "well")
    assert (rows.x.tolist(), rows.x.dtype) == ([[4, 2, 4], [3, 4, 1], [3, 3, 3]], np.int32)
    assert (rows.classes, rows.y.tolist()) == (("bad", "good"), [1, 0, 0])
    assert (list(rows.names), rows.findings, rows.columns) == (["line 2", "line 3", "line 4"], (), ())


def test_groups_and_times_are_those_of_tables(tmp_path):
    file = write(tmp_path / "x.csv", CSV)
    rows = read_text(file, group="who", ignore="when")
    assert rows.groups is not None
    assert rows.groups[0] == rows.groups[2] != rows.groups[1]
    rows = read_text(file, time="when")
    assert rows.times is not None
    assert np.argsort(rows.times).tolist() == [1, 0, 2]


def test_columns_can_be_named(tmp_path):
    rows = read_text(write(tmp_path / "x.tsv", "said\tby\nNA\tann\n?\tbob\n"), text="said", target="by")
    assert (texts(rows), rows.classes) == (["na", "?"], ("ann", "bob"))


def test_long_texts_are_cut_and_counted(tmp_path):
    content = "".join(json.dumps({"text": "so " * n + f"end{n}", "label": n % 2}) + "\n" for n in (1, 2, 3, 7))
    rows = read_text(write(tmp_path / "x.jsonl", content), words=3)
    assert (texts(rows), rows.x.shape) == (["so end1", "so so end2", "so so so", "so so so"], (4, 3))
    (finding,) = rows.findings
    assert (finding.name, finding.level) == ("long-texts", "note")
    assert finding.text == "2 of 4 texts are cut off after 3 words (data.words); the longest has 8"


@pytest.mark.parametrize(
    ("content", "data", "words"),
    [
        ("a,target\nx,1\n", {}, ["no column is called text", "pass data.text: a or target"]),
        (CSV, {"text": "txt"}, ["data.text:", "no column 'txt'", "did you mean text?"]),
        (CSV, {"ignore": "whom"}, ["data.ignore:", "did you mean who?"]),
        ("text,y\nx,1\n,2\n  ,1\n\u200b,1\n", {}, ["x.csv, column 'text': 3 of 4 texts have no words: line 3, line 4"]),
        ("text,y\nx,1\ny,\n", {}, ["column 'y': 1 of 2 rows have no label: line 3"]),
        ("text,b\nx,1\n", {}, ["no column is called target"]),
    ],
)
def test_a_file_that_cannot_be_used_is_one_message(tmp_path, content, data, words):
    message = refusal(write(tmp_path / "x.csv", content), **data)
    for word in words:
        assert word in message


def test_nothing_there_is_one_message(tmp_path):
    assert "nowhere is not there; expected a file" in refusal(tmp_path / "nowhere")


# Folders


def test_texts_of_folders_are_in_the_order_of_the_paths(root):
    rows = read_text(root)
    assert texts(rows) == ["no !", "no no no", "well , well", "oh well"]
    assert (rows.words, rows.x.dtype) == (("!", ",", "no", "oh", "well"), np.int32)
    assert (rows.classes, rows.y.tolist()) == (("bad", "good"), [0, 0, 1, 1])
    assert rows.names == ("bad/1.txt", "bad/2.txt", "good/1.txt", "good/2.txt")


def test_long_texts_and_files_that_are_left_out_are_both_told(root):
    write(root / "good" / "x.pdf", b"%PDF")
    assert {finding.name for finding in read_text(root, words=2).findings} == {"long-texts", "other-files"}


def test_text_that_is_no_utf8_is_named_with_its_line_and_byte(root):
    write(root / "good" / "3.txt", b"\xef\xbb\xbffine\ncaf\xe9\n")
    message = refusal(root)
    assert "good/3.txt has byte 0xe9 in line 2, which is not UTF-8; write them anew, as with `iconv -f" in message
    rows = read_text(root, allow="unreadable-files")
    assert (texts(rows)[-1], len(rows.y)) == ("oh well", 4)


FOLDERS = [
    ({"good/3.txt": " \n"}, {}, ["1 of 5 texts have no words: good/3.txt"]),
    ({}, {"target": "y"}, ["data.target:", "is a folder of texts, and has no columns"]),
    ({}, {"group": "y"}, ["data.group:"]),
]


@pytest.mark.parametrize(("files", "data", "words"), FOLDERS)
def test_a_folder_that_cannot_be_used_is_one_message(root, files, data, words):
    for name, content in files.items():
        write(root / name, content)
    message = refusal(root, **data)
    for word in words:
        assert word in message


# Words


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Don't stop: it\u2019s 3.14!", ["don't", "stop", ":", "it\u2019s", "3", ".", "14", "!"]),
        ("'quoted' dogs'", ["'", "quoted", "'", "dogs", "'"]),
        ("snake_case __x", ["snake", "_", "case", "_", "_", "x"]),
        ("日本語のテキスト", list("日本語のテキスト")),
        ("我喜欢Python3。", ["我", "喜", "欢", "python3", "。"]),
        ("Cafe\u0301 x\u0302y \u0130stanbul", ["caf\u00e9", "x\u0302y", "i\u0307stanbul"]),
        ("हिन्दी में", ["हिन्दी", "में"]),
        ("👍🏽 ❤\ufe0f 👩\u200d🚀", ["👍", "🏽", "❤", "👩", "🚀"]),
        ("tab\there\x00and\u200bthere", ["tab", "here", "and", "there"]),
        ("\u200b \n", []),
    ],
)
def test_words_of_a_text(text, words):
    assert tokens(text) == words


SOME = st.characters(codec="utf-8") | st.sampled_from(
    "aA1_'\u2019 .J\u030c\u0301\u0130\u03a3\u1e9e日がกำ\u0f77\u200d👍"
)


@given(st.text(SOME))
def test_words_of_words_are_the_same_words(text):
    assert tokens(" ".join(tokens(text))) == tokens(text)


def test_all_characters_alone_and_after_a_letter_are_the_same_words_again():
    for character in map(chr, [*range(0xD800), *range(0xE000, 0x32000), *range(0xE0000, 0xE0200)]):
        text = f"{character} a{character}b {character}{character}"
        assert tokens(" ".join(tokens(text))) == tokens(text), hex(ord(character))


# Real data: Debian's package `fortunes`

FORTUNES = Path("/usr/share/games/fortunes")
TOPICS = ("computers", "food", "science")


@pytest.mark.skipif(not FORTUNES.is_dir(), reason="needs Debian's package fortunes")
def test_fortunes_in_a_file_and_in_folders_are_the_same(tmp_path):
    sayings = []
    for topic in TOPICS:
        for i, saying in enumerate((FORTUNES / topic).read_text("utf-8").split("\n%\n")):
            if saying.strip("%\n "):
                write(tmp_path / "folders" / topic / f"{i:04}.txt", saying)
                sayings.append({"text": saying, "label": topic})
    write(tmp_path / "x.jsonl", "\n".join(json.dumps(saying) for saying in sayings))
    folders, file = (read_text(tmp_path / name, tmp_path, words=100) for name in ("folders", "x.jsonl"))
    np.testing.assert_array_equal(file.x, folders.x)
    np.testing.assert_array_equal(file.y, folders.y)
    assert (file.words, file.classes, file.findings) == (folders.words, folders.classes, folders.findings)
    assert len(file.y) > 1500
    assert {"computer", "program", "'", "."} <= set(file.words)
    chosen = random.Random(0).sample(range(len(sayings)), 50)
    assert [texts(file)[i] for i in chosen] == [" ".join(tokens(sayings[i]["text"])[:100]) for i in chosen]
