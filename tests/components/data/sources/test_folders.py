"""Folders of images and of texts alike: which files are rows, and one clear message for each kind of damage."""

import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import fsspec
import numpy as np
import pytest
from PIL import Image

from components.data.preparation import prepare
from components.data.sources import Rows, read
from components.errors import AssayError
from components.study.dataset import DatasetSpec


def picture(file: Path, seed: int) -> None:
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (5, 6), np.uint8)).save(file)


def text(file: Path, seed: int) -> None:
    file.write_text(f"row {seed}", "utf-8")


@dataclass(frozen=True)
class Source:
    """A source of folders, with what differs between them.

    Attributes:
        scheme: of the source.
        name: what messages call a file.
        form: what they call one where there is none.
        ending: of the files.
        write: writes a file.
    """

    scheme: str
    name: str
    form: str
    ending: str
    write: Callable[[Path, int], None]

    def put(self, folder: Path, name: str, seed: int = 0) -> Path:
        """Write a file that can be read, in a folder that is made, and return its path."""
        file = folder / f"{name}{self.ending}"
        file.parent.mkdir(parents=True, exist_ok=True)
        self.write(file, seed)
        return file

    def read(self, folder: Path | str, scratch: Path, **data) -> Rows:
        scratch.mkdir(exist_ok=True)
        return read(DatasetSpec.model_validate({"source": f"{self.scheme}:{folder}", **data}), scratch)

    def names(self, *names: str) -> tuple[str, ...]:
        return tuple(f"{name}{self.ending}" for name in names)


IMAGES = Source("images", "image", "PNG, JPEG, BMP or GIF image", ".png", picture)
TEXTS = Source("text", "text", ".txt file", ".txt", text)


@pytest.fixture(params=[IMAGES, TEXTS], ids=lambda source: source.scheme)
def source(request) -> Source:
    return request.param


@pytest.fixture
def root(source, tmp_path) -> Path:
    """Two classes with ten different files each."""
    for i in range(20):
        source.put(tmp_path / "pets", f"{('cat', 'dog')[i % 2]}/{i:02}", i)
    return tmp_path / "pets"


@pytest.fixture
def refused(source, tmp_path):
    """Reads the folder and returns the one message with which it is refused."""

    def message(folder: Path | str, **data) -> str:
        with pytest.raises(AssayError) as caught:
            source.read(folder, tmp_path / "scratch", **data)
        assert "\n" not in str(caught.value)
        assert list((tmp_path / "scratch").iterdir()) == []
        assert caught.value.exit_code == 1
        return str(caught.value)

    return message


# Which files are rows


def test_a_folder_is_a_class_and_rows_are_in_the_order_of_the_paths(source, root, tmp_path):
    rows = source.read(root, tmp_path / "scratch")
    assert (rows.classes, rows.y.tolist(), rows.y.dtype) == (("cat", "dog"), [0] * 10 + [1] * 10, np.int32)
    assert rows.names[:2] + rows.names[-1:] == source.names("cat/00", "cat/02", "dog/19")
    assert (len(rows.x), rows.splits, rows.findings) == (20, {}, ())


def test_folders_of_splits_are_the_sources_own_splits(source, tmp_path, make_study):
    for i, split in enumerate(["train"] * 12 + ["Val"] * 4 + ["test"] * 4):
        source.put(tmp_path / "pets", f"{split}/{('cat', 'dog')[i % 2]}/{i}", i)
    rows = source.read(tmp_path / "pets", tmp_path / "scratch")
    assert {name: len(of) for name, of in rows.splits.items()} == {"train": 12, "validation": 4, "test": 4}
    for name, of in rows.splits.items():
        assert {rows.names[i].split("/")[0] for i in of} == {"Val" if name == "validation" else name}
    study = make_study(f"{source.scheme}:{tmp_path / 'pets'}", data={"test": "test"}, arms={})
    prepared = prepare(study, tmp_path / "data")
    assert {rows.names[i].split("/")[0] for i in prepared.test_rows} == {"test"}


def test_train_can_be_a_class(source, root, tmp_path):
    (root / "cat").rename(root / "train")
    assert source.read(root, tmp_path / "scratch").classes == ("dog", "train")


def test_a_train_folder_without_test_is_enough_for_a_fraction(source, root, tmp_path, make_study):
    shutil.move(root, tmp_path / "all" / "train")
    where = f"{source.scheme}:{tmp_path / 'all'}"
    assert prepare(make_study(where, arms={}), tmp_path / "data").schema.splits["test"] == 4
    with pytest.raises(AssayError, match="the source has no split 'test'; its own splits: train; or give a fraction"):
        prepare(make_study(where, data={"test": "test"}, arms={}), tmp_path / "data")


def test_hidden_and_system_files_and_folders_do_not_count(source, root, tmp_path):
    hidden = (".DS_Store", "cat/.DS_Store", "cat/Thumbs.db", ".git/config")
    for name in (*hidden, *source.names("dog/._00", ".hidden/0", "cat/.more/0")):
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).write_bytes(b"?")
    rows = source.read(root, tmp_path / "scratch")
    assert (len(rows.y), rows.classes, rows.findings) == (20, ("cat", "dog"), ())


def test_folders_in_a_class_belong_to_it_and_circles_of_links_end(source, root, tmp_path):
    source.put(root, "cat/more/20", 20)
    (root / "cat" / "more" / "up").symlink_to(root / "cat")
    (root / "dog" / "self").symlink_to(root / "dog" / "self")
    (root / "all").symlink_to(root)
    rows = source.read(root, tmp_path / "scratch")
    assert (len(rows.y), rows.classes) == (21, ("cat", "dog"))


def test_a_link_to_a_folder_elsewhere_is_a_class(source, root, tmp_path):
    (root / "dog").rename(tmp_path / "dogs")
    (root / "dog").symlink_to(tmp_path / "dogs")
    rows = source.read(root, tmp_path / "scratch")
    assert (len(rows.y), rows.names[-1]) == (20, *source.names("dog/19"))


def test_a_relative_folder_is_seen_from_the_working_folder(source, root, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert len(source.read("pets", tmp_path / "scratch").y) == 20


def test_a_name_that_is_no_utf8_is_shown_all_the_same(source, root, tmp_path):
    file = os.fsencode(root / "cat") + b"/\xff" + source.ending.encode()
    (root / source.names("cat/00")[0]).rename(os.fsdecode(file))
    assert source.names("cat/\ufffd")[0] in source.read(root, tmp_path / "scratch").names


def test_other_types_are_left_out_and_counted(source, root, tmp_path):
    for name in ("cat/1.tiff", "cat/2.tiff", "dog/3.TIFF", "dog/x.svg", "README"):
        (root / name).write_text("?")
    source.put(root, "beside")
    rows = source.read(root, tmp_path / "scratch")
    assert len(rows.y) == 20
    assert [(finding.name, finding.level, finding.text) for finding in rows.findings] == [
        ("other-files", "warning", "files of other types are left out: 3 .tiff, 1 .svg"),
        (
            "loose-files",
            "warning",
            f"{source.name}s beside the class folders have no class and are left out: 1",
        ),
    ]


# Files that can't be read


@pytest.mark.parametrize(
    ("break_", "words"),
    [
        (lambda file: file.write_bytes(b"\xff"), "not UTF-8|is no PNG, JPEG, BMP or GIF image"),
        (lambda file: file.symlink_to("nowhere"), "link that leads nowhere"),
        (os.mkfifo, "is no ordinary file"),
    ],
    ids=["bytes", "link", "pipe"],
)
def test_a_file_that_cannot_be_read_is_named_and_can_be_let_go(source, root, refused, tmp_path, break_, words):
    (name,) = source.names("cat/bad")
    break_(root / name)
    message = refused(root)
    assert message.startswith(f"{root}: 1 of 21 {source.name} files can't be read: {name} ")
    assert message.endswith("or go on without them: data.allow: [unreadable-files]")
    assert any(word in message for word in words.split("|"))
    rows = source.read(root, tmp_path / "scratch", allow="unreadable-files")
    assert (len(rows.y), len(rows.x), len(rows.names)) == (20, 20, 20)
    assert name not in rows.names
    (finding,) = rows.findings
    assert (finding.name, finding.level) == ("unreadable-files", "warning")
    assert finding.text == f"1 of 21 {source.name} files can't be read and are left out"
    assert finding.examples[0].startswith(f"{name} ")


def test_of_many_files_that_cannot_be_read_the_first_are_named(source, root, refused):
    for i in range(7):
        (root / source.names(f"dog/bad{i}")[0]).write_bytes(b"\xff")
    message = refused(root)
    assert "7 of 27" in message
    assert "bad4" in message
    assert "bad5" not in message
    assert "and 2 more; " in message


def test_a_class_without_a_readable_file_is_named(source, root, refused):
    for file in (root / "cat").iterdir():
        file.write_bytes(b"\xff")
    message = refused(root, allow="unreadable-files")
    assert message.startswith(f"{root}: no {source.name} of class 'cat' can be read")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_files_and_folders_without_permission_are_named(source, root, refused):
    (name,) = source.names("cat/00")
    (root / name).chmod(0)
    assert f"{name} Permission denied" in refused(root)
    (root / "dog").chmod(0)
    assert f"can't read {root / 'dog'}: Permission denied" in refused(root)
    (root / "dog").chmod(0o700)


def test_a_folder_without_permission_is_one_message_even_where_root_runs_the_tests(source, root, refused, monkeypatch):
    listdir = os.listdir

    def denied(folder):
        if folder == root:
            raise PermissionError(13, "Permission denied", str(folder))
        return listdir(folder)

    monkeypatch.setattr("components.data.sources.folders.os.listdir", denied)
    assert refused(root) == f"can't read {root}: Permission denied"


# Folders that no study can be made of


def flat(source, root):
    for file in [*root.rglob(f"*{source.ending}")]:
        file.rename(root / file.name)
    (root / "cat").rmdir()
    (root / "dog").rmdir()


def emptied(source, root):
    shutil.rmtree(root / "dog")
    (root / "dog").mkdir()


def only_tiffs(source, root):
    emptied(source, root)
    (root / "dog" / "x.tiff").write_text("?")


def one_class(source, root):
    shutil.rmtree(root / "dog")


def another_case(source, root):
    source.put(root, "Cat/x")


def splits(source, root):
    """Put both classes into train/ and into test/."""
    shutil.copytree(root, root.with_name("test"))
    shutil.copytree(root, root / "train")
    shutil.rmtree(root / "cat")
    shutil.rmtree(root / "dog")
    root.with_name("test").rename(root / "test")


def class_only_in_test(source, root):
    splits(source, root)
    source.put(root, "test/emu/x")


def no_train(source, root):
    splits(source, root)
    shutil.rmtree(root / "train")


def empty_test(source, root):
    splits(source, root)
    shutil.rmtree(root / "test")
    (root / "test").mkdir()
    source.put(root, "train/beside")  # is not among those of test


def stranger(source, root):
    splits(source, root)
    source.put(root, "extra/cat/x")


def twice(source, root):
    splits(source, root)
    shutil.copytree(root / "train", root / "val")
    shutil.copytree(root / "train", root / "validation")


FOLDERS = [
    (flat, "has no class folders; its 20 {name}s have no class; expected a folder per class, with the {name}s in it"),
    (emptied, "1 of 2 class folders have no {form}: dog; add {name}s or remove the folder"),
    (only_tiffs, "have no {form}: dog (in all class folders there are 1 .tiff, which Assay does not read)"),
    (one_class, "has one class folder only, 'cat'; a study needs two classes"),
    (another_case, "the class folders Cat, cat differ only in case"),
    (class_only_in_test, "only the test folder has class emu, so no model could learn it; add it to train"),
    (no_train, "has test and no train folder"),
    (empty_test, "test has no class folders; expected a folder per class"),
    (stranger, "has test, train, which are splits, and extra, which is none"),
    (twice, "has two validation folders: val and validation"),
]


@pytest.mark.parametrize(("change", "words"), FOLDERS)
def test_a_folder_that_holds_no_classes_is_one_message(source, root, refused, change, words):
    change(source, root)
    message = refused(root)
    assert message.startswith(str(root))
    assert words.format(name=source.name, form=source.form) in message


# Elsewhere


@pytest.fixture
def bucket(root):
    """The folder in another file system, that fsspec has."""
    files = fsspec.filesystem("memory")
    files.put(f"{root}/", "/bucket/pets/", recursive=True)
    yield files
    files.rm("/", recursive=True)


def test_a_folder_elsewhere_is_read_as_one_that_is_here(source, root, bucket, tmp_path):
    here = source.read(root, tmp_path / "here")
    there = source.read("memory://bucket/pets", tmp_path / "there")
    np.testing.assert_array_equal(here.x, there.x)
    np.testing.assert_array_equal(here.y, there.y)
    assert (here.names, here.classes, here.splits) == (there.names, there.classes, there.splits)
    assert {file.name for file in (tmp_path / "there").iterdir()} <= {"x.npy"}


def test_of_a_folder_elsewhere_no_message_names_the_copy(source, root, bucket, refused, tmp_path):
    (name,) = source.names("cat/bad")
    bucket.pipe(f"/bucket/pets/{name}", b"\xff")
    assert refused("memory://bucket/pets").startswith(f"memory://bucket/pets: 1 of 21 {source.name} files can't be")
    (finding,) = source.read("memory://bucket/pets", tmp_path / "scratch", allow="unreadable-files").findings
    assert finding.examples[0].startswith(f"{name} ")
