"""Data sets of tensorflow-datasets: read where they are prepared, and prepared from placed files or a server."""

import contextlib
import gzip
import hashlib
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from functools import partial
from http.server import BaseHTTPRequestHandler, SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
import tensorflow_datasets as tfds
from sklearn import datasets
from tensorflow_datasets.core.download import resource
from tensorflow_datasets.core.download.checksums import UrlInfo

from components.data.preparation import prepare
from components.data.sources import Rows, read
from components.data.sources import tfds as source
from components.data.splitting import TEST, TRAIN, VALIDATION, content, split
from components.errors import AssayError
from components.study.dataset import DatasetSpec

# tensorflow-datasets, of protobuf
pytestmark = pytest.mark.filterwarnings(r"ignore:label\(\) is deprecated:DeprecationWarning")

NOWHERE = "http://127.0.0.1:9/"  # where nothing listens
DEBIAN = Path("/usr/share/datasets/fashion-mnist")  # apt-get install dataset-fashion-mnist


def info(builder, features: dict, supervised) -> tfds.core.DatasetInfo:
    described = tfds.features.FeaturesDict(features)
    return tfds.core.DatasetInfo(builder=builder, features=described, supervised_keys=supervised)


class AssayDigits(tfds.core.GeneratorBasedBuilder):
    """scikit-learn's digits as a tensorflow data set with two splits, the second of them small."""

    VERSION = tfds.core.Version("1.0.0")

    def _info(self):
        features = {
            "image": tfds.features.Image(shape=(8, 8, 1)),
            "label": tfds.features.ClassLabel(names=[str(i) for i in range(10)]),
        }
        return info(self, features, ("image", "label"))

    def _split_generators(self, dl_manager):
        return {"train": self._rows(0, 300), "test": self._rows(300, 360)}

    def _generate_examples(self):
        return self._rows(0, 0)

    def _rows(self, start: int, end: int):
        bunch = datasets.load_digits()
        for i in range(start, end):
            yield i, {"image": bunch.images[i, ..., np.newaxis].astype(np.uint8), "label": int(bunch.target[i])}


class AssayIris(tfds.core.GeneratorBasedBuilder):
    """Iris as a table of four numbers."""

    VERSION = tfds.core.Version("1.0.0")

    def _info(self):
        features = {
            "features": tfds.features.Tensor(shape=(4,), dtype=np.float32),
            "label": tfds.features.ClassLabel(names=["setosa", "versicolor", "virginica"]),
        }
        return info(self, features, ("features", "label"))

    def _split_generators(self, dl_manager):
        return {"train": self._generate_examples()}

    def _generate_examples(self):
        bunch = datasets.load_iris()
        for i, (x, y) in enumerate(zip(bunch.data, bunch.target, strict=True)):
            yield i, {"features": x.astype(np.float32), "label": int(y)}


class AssaySizes(tfds.core.GeneratorBasedBuilder):
    """Images of two sizes, and no supervised keys in the config `unlabeled`."""

    VERSION = tfds.core.Version("1.0.0")
    BUILDER_CONFIGS = (tfds.core.BuilderConfig(name="labeled"), tfds.core.BuilderConfig(name="unlabeled"))

    def _info(self):
        features = {
            "image": tfds.features.Image(shape=(None, None, 1)),
            "label": tfds.features.ClassLabel(num_classes=2),
        }
        keys = ("image", "label") if self.builder_config.name == "labeled" else None
        return info(self, features, keys)

    def _split_generators(self, dl_manager):
        return {"train": self._generate_examples()}

    def _generate_examples(self):
        for i in range(4):
            yield i, {"image": np.zeros((4 + i % 2, 4, 1), np.uint8), "label": i % 2}


class AssayHalf(tfds.core.GeneratorBasedBuilder):
    """Texts, or their lengths, with a split that has no labels."""

    VERSION = tfds.core.Version("1.0.0")
    BUILDER_CONFIGS = (tfds.core.BuilderConfig(name="lengths"), tfds.core.BuilderConfig(name="texts"))
    TEXTS = (b"good", b"", "gr\u00fc\u00df dich".encode(), b"caf\xe9", b"a\nb")

    def _info(self):
        features = {
            "length": tfds.features.Tensor(shape=(1,), dtype=np.int32),
            "text": tfds.features.Text(),
            "label": tfds.features.ClassLabel(names=["short", "long"]),
        }
        return info(self, features, ("text" if self.builder_config.name == "texts" else "length", "label"))

    def _split_generators(self, dl_manager):
        return {"train": self._rows(True), "unsupervised": self._rows(False)}

    def _generate_examples(self):
        return self._rows(True)

    def _rows(self, labels: bool):
        for i in range(40):
            text = self.TEXTS[i % 5]
            yield i, {"text": text, "length": [len(text)], "label": int(len(text) > 4) if labels else -1}


class AssayNoLabels(AssayHalf):
    """Nothing but rows without labels."""

    VERSION = tfds.core.Version("1.0.0")

    def _split_generators(self, dl_manager):
        return {"train": self._rows(False)}


class AssayNeeds(AssayDigits):
    """Needs a package that is not there."""

    VERSION = tfds.core.Version("1.0.0")

    def _info(self):
        import nosuchpackage  # pyright: ignore[reportMissingImports]

        return nosuchpackage.info


class AssayDownloads(tfds.core.GeneratorBasedBuilder):
    """Digits from two gzip files of a server: x.gz has a byte a pixel, y.gz a byte a label."""

    VERSION = tfds.core.Version("1.0.0")
    URL = NOWHERE

    def _info(self):
        features = {
            "image": tfds.features.Image(shape=(8, 8, 1)),
            "label": tfds.features.ClassLabel(num_classes=10),
        }
        return info(self, features, ("image", "label"))

    def _split_generators(self, dl_manager):
        unpacked = dl_manager.download_and_extract({name: f"{self.URL}{name}.gz" for name in "xy"})
        return {"train": self._generate_examples(**unpacked)}

    def _generate_examples(self, x, y):
        images = np.frombuffer(Path(x).read_bytes(), np.uint8).reshape(-1, 8, 8, 1)
        labels = np.frombuffer(Path(y).read_bytes(), np.uint8)
        for i, (image, label) in enumerate(zip(images, labels, strict=True)):
            yield i, {"image": image, "label": int(label)}


class AssayByHand(AssayDigits):
    """Needs a file that only a person can get."""

    VERSION = tfds.core.Version("1.0.0")
    MANUAL_DOWNLOAD_INSTRUCTIONS = """
    Sign in at example.org,
    and put digits.txt into manual_dir.
    """

    def _split_generators(self, dl_manager):
        assert (dl_manager.manual_dir / "digits.txt").read_text() == "digits"
        return super()._split_generators(dl_manager)


# What is prepared already


@pytest.fixture(scope="module")
def _prepared_by_tfds(tmp_path_factory):
    """Data sets, prepared by tensorflow-datasets itself in a folder of their own."""
    folder = tmp_path_factory.mktemp("tfds")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tfds.core.constants, "DATA_DIR", str(folder))
        for builder in (AssayDigits(), AssayIris(), AssayNoLabels()):
            builder.download_and_prepare()
        for config in ("labeled", "unlabeled"):
            AssaySizes(config=config).download_and_prepare()
        for config in ("lengths", "texts"):
            AssayHalf(config=config).download_and_prepare()
        yield folder


@pytest.mark.usefixtures("_prepared_by_tfds")
class TestTensorflowDatasets:
    def test_images_come_with_all_splits_joined(self, make_study, tmp_path):
        prepared = prepare(make_study("tfds:assay_digits", arms={}, seeds=2), tmp_path)
        bunch = datasets.load_digits()
        assert prepared.schema.shape == (8, 8, 1)
        assert prepared.schema.rows == 360
        assert prepared.x.dtype == np.uint8
        assert sorted(map(bytes, np.array(prepared.x))) == sorted(map(bytes, bunch.images[:360].astype(np.uint8)))
        assert prepared.schema.class_rows == {str(i): int((bunch.target[:360] == i).sum()) for i in range(10)}

    def test_the_sources_own_split_can_be_the_test_rows(self, make_study, tmp_path):
        prepared = prepare(make_study("tfds:assay_digits", data={"test": "test"}, arms={}, seeds=2), tmp_path)
        own = datasets.load_digits().images[300:360].astype(np.uint8)
        assert prepared.schema.splits == {"test": 60, "validation": 60, "train": 240}
        assert sorted(map(bytes, np.array(prepared.x[prepared.test_rows]))) == sorted(map(bytes, own))

    def test_a_table_has_numbered_columns(self, make_study, tmp_path):
        prepared = prepare(make_study("tfds:assay_iris", data={"kind": "table"}, arms={}), tmp_path)
        assert [column.name for column in prepared.schema.columns] == [f"features_{i}" for i in range(4)]
        assert prepared.schema.classes == ("setosa", "versicolor", "virginica")
        found = np.lexsort(np.array(prepared.x).T)
        bunch = datasets.load_iris()
        np.testing.assert_array_equal(prepared.x[found], bunch.data.astype(np.float32)[np.lexsort(bunch.data.T)])

    @pytest.mark.parametrize(
        ("source", "data", "words"),
        [
            ("assay_iris", {}, r"rows of shape \(4,\), which is no image; add `kind: table` to `data`"),
            ("assay_digits", {"kind": "table"}, r"rows of shape \(8, 8, 1\), which is no table; add `kind: image`"),
            ("assay_digits", {"test": "tset"}, "data.test: the source has no split 'tset'; its own splits: t"),
            ("assay_digits:9.9.9", {}, "tfds:assay_digits:9.9.9 is not possible: .*9.9.9"),
            ("assay_sizes/labeled", {}, "its images differ in size; Assay needs one size"),
            ("assay_half/texts", {}, r"rows that are no numbers, of shape \(\), which is no image; add `kind: text`"),
            ("assay_no_labels", {"kind": "table"}, "tfds:assay_no_labels has no labelled rows"),
            ("assay_needs", {}, "needs a Python package that is not there: .*No module named 'nosuchpackage'"),
            ("assay_sizes/unlabeled", {}, "no feature that it is the class label"),
            ("asay_digits", {}, "knows no data set 'asay_digits'"),
        ],
    )
    def test_what_can_not_be_used_is_one_sentence(self, make_study, tmp_path, source, data, words):
        with pytest.raises(AssayError, match=words) as caught:
            prepare(make_study(f"tfds:{source}", data=data, arms={}), tmp_path)
        assert "\n" not in str(caught.value)

    def test_rows_are_written_where_the_study_reads_them(self, tmp_path):
        found = read(DatasetSpec(source="tfds:assay_digits"), tmp_path)
        assert isinstance(found.x, np.memmap)
        assert found.x.filename == tmp_path / "x.npy"
        np.testing.assert_array_equal(np.load(tmp_path / "x.npy"), found.x)

    def test_batches_of_any_size_give_the_same_rows(self, tmp_path, monkeypatch):
        whole = np.array(read(DatasetSpec(source="tfds:assay_digits"), tmp_path).x)
        monkeypatch.setattr(source, "BATCH_BYTES", 64 * 7)
        np.testing.assert_array_equal(read(DatasetSpec(source="tfds:assay_digits"), tmp_path).x, whole)

    def test_a_split_without_labels_is_left_out_and_told_of(self, tmp_path):
        found = read(DatasetSpec(source="tfds:assay_half/lengths", kind="table"), tmp_path)
        assert {split: len(rows) for split, rows in found.splits.items()} == {"train": 40}
        assert [finding.text for finding in found.findings] == ["splits without labels are left out: unsupervised"]
        np.testing.assert_array_equal(found.y, found.x[:, 0] > 4)

    def test_texts_are_read_in_the_order_of_the_labels(self, tmp_path):
        texts = source.texts(tfds.builder("assay_half/texts"), "train", "text")
        assert set(texts) == {"good", "", "gr\u00fc\u00df dich", "caf\ufffd", "a\nb"}
        lengths = read(DatasetSpec(source="tfds:assay_half/lengths", kind="table"), tmp_path).x[:, 0]
        assert len(texts) == 40
        # "caf\ufffd" has one byte in the data set.
        assert [len(text.replace("\ufffd", "?").encode()) for text in texts] == lengths.tolist()

    def test_text_becomes_words(self, tmp_path):
        found = read(DatasetSpec(source="tfds:assay_half/texts", kind="text"), tmp_path)
        assert found.words == ("a", "b", "caf", "dich", "good", "gr\u00fc\u00df", "\ufffd")
        assert found.x.shape == (40, 2)
        assert {split: len(rows) for split, rows in found.splits.items()} == {"train": 40}
        good = found.x[:, 0] == 5
        assert good.sum() == 8
        assert (found.x[good, 1] == 0).all()
        lengths = read(DatasetSpec(source="tfds:assay_half/lengths", kind="table"), tmp_path)
        np.testing.assert_array_equal(found.y, lengths.y)

    def test_a_disk_without_room_is_told_before_anything_is_written(self, tmp_path, monkeypatch):
        monkeypatch.setattr(
            "components.data.sources.shutil.disk_usage", lambda folder: shutil._ntuple_diskusage(9, 9, 0)
        )
        with pytest.raises(AssayError, match=r"the rows need 0.0 GB, and .* has 0.0 GB left; make room"):
            read(DatasetSpec(source="tfds:assay_digits"), tmp_path)
        assert list(tmp_path.iterdir()) == []


# What is not prepared yet


def packed(content: np.ndarray, header: bytes = b"") -> bytes:
    """Return it as a gzip file; a comment in its header makes another file of the same content."""
    plain = gzip.compress(content.astype(np.uint8).tobytes(), mtime=0)
    return plain[:3] + b"\x10" + plain[4:10] + header + b"\0" + plain[10:] if header else plain


BUNCH = datasets.load_digits()
FILES = {"x.gz": packed(BUNCH.images[:300]), "y.gz": packed(BUNCH.target[:300])}


@pytest.fixture
def root(tmp_path, monkeypatch) -> Path:
    """An empty folder of tensorflow-datasets."""
    monkeypatch.setattr(tfds.core.constants, "DATA_DIR", str(tmp_path / "tfds"))
    return tmp_path / "tfds"


@pytest.fixture
def from_url(monkeypatch):
    """Return a function that says where the files of `assay_downloads` are."""

    def set_url(url: str) -> None:
        infos = {
            url + name: UrlInfo(tfds.core.utils.Size(len(file)), hashlib.sha256(file).hexdigest(), name)
            for name, file in FILES.items()
        }
        monkeypatch.setattr(AssayDownloads, "URL", url)
        monkeypatch.setattr(AssayDownloads, "url_infos", infos)

    set_url(NOWHERE)
    return set_url


@pytest.fixture
def placed(root, from_url) -> Path:
    """The download folder with both files in it, under their plain names; their server is not there."""
    folder = root / "downloads" / "assay_downloads"
    folder.mkdir(parents=True)
    for name, file in FILES.items():
        (folder / name).write_bytes(file)
    return folder


def read_downloads(tmp_path: Path) -> Rows:
    return read(DatasetSpec(source="tfds:assay_downloads"), tmp_path)


def assert_is_whole(rows: Rows) -> None:
    """The rows are the digits, each with its label."""
    found = sorted(zip(map(bytes, np.array(rows.x)), rows.y.tolist(), strict=True))
    assert found == sorted(
        zip(map(bytes, BUNCH.images[:300].astype(np.uint8)), BUNCH.target[:300].tolist(), strict=True)
    )


def assert_nothing_is_prepared(root: Path) -> None:
    """Nothing looks prepared, and nothing unpacked is left."""
    assert not tfds.builder("assay_downloads").is_prepared()
    assert list(root.glob("assay_downloads/*")) == []
    assert list(root.glob("downloads/unpacked-*")) == []


@contextlib.contextmanager
def serving(handler) -> Iterator[str]:
    """Serve on this machine, and return the URL."""
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()
        thread.join()


class Silent(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        pass


def answering(status: int) -> type[BaseHTTPRequestHandler]:
    """Return a handler that says nothing but this."""

    class Answer(Silent):
        def do_GET(self):
            self.send_response(status)
            self.send_header("Content-Length", "0")
            self.end_headers()

    return Answer


class TestPlacedFiles:
    def test_files_with_their_plain_names_are_enough(self, placed, root, tmp_path):
        rows = read_downloads(tmp_path)
        assert_is_whole(rows)
        assert rows.findings == ()
        assert list(root.glob("downloads/unpacked-*")) == []

    def test_whoever_watches_is_told_why_it_takes_time(self, placed, tmp_path, monkeypatch):
        monkeypatch.setenv("ASSAY_EVENTS", str(tmp_path / "events"))
        read_downloads(tmp_path)
        read_downloads(tmp_path)
        (event,) = map(json.loads, (tmp_path / "events").read_text().splitlines())
        assert (event["event"], event["step"]) == ("warning", "load")
        what = f"tfds:assay_downloads is made from the files in {placed}"
        assert event["message"] == f"{what}, once; this may take minutes"

    def test_what_was_prepared_is_read_without_the_files(self, placed, tmp_path):
        first = np.array(read_downloads(tmp_path).x)
        for file in placed.iterdir():
            file.unlink()
        np.testing.assert_array_equal(read_downloads(tmp_path).x, first)

    def test_files_with_the_names_of_tensorflow_datasets_are_taken_too(self, placed, tmp_path):
        for url, info in AssayDownloads.url_infos.items():
            (placed / info.filename).rename(placed / resource.get_dl_fname(url, info.checksum))
        assert_is_whole(read_downloads(tmp_path))

    def test_files_packed_anew_are_taken_and_told_of(self, placed, tmp_path):
        (placed / "x.gz").write_bytes(packed(BUNCH.images[:300], b"packed elsewhere"))
        rows = read_downloads(tmp_path)
        assert_is_whole(rows)
        (finding,) = rows.findings
        assert (finding.name, finding.level, finding.examples) == ("repacked-files", "note", ("x.gz",))
        assert finding.text == "placed files with another checksum than the original's, but whole: 1 of 2"

    @pytest.mark.parametrize(
        ("content", "words"),
        [
            (FILES["x.gz"][:-9], r"x\.gz is broken or was cut off \(.*end-of-stream.*\); copy it again"),
            (FILES["x.gz"][:-8] + bytes(8), r"x\.gz is broken or was cut off \(CRC check failed.*\); copy it again"),
            (b"<html>".ljust(len(FILES["x.gz"])), r"x\.gz is broken or was cut off \(Not a gzipped file"),
            (
                FILES["x.gz"][:500],
                r"x\.gz is not the file .* expected \d+ bytes with SHA-256 \w{64}, got 500 bytes with",
            ),
            (b"", r"x\.gz is not the file .*, got 0 bytes with \w{64}; copy it again"),
        ],
    )
    def test_a_broken_file_is_told_of_and_can_be_copied_again(self, placed, root, tmp_path, content, words):
        (placed / "x.gz").write_bytes(content)
        with pytest.raises(AssayError, match=words) as caught:
            read_downloads(tmp_path)
        assert "\n" not in str(caught.value)
        assert sorted(path.name for path in placed.iterdir()) == ["x.gz", "y.gz"]
        assert_nothing_is_prepared(root)
        (placed / "x.gz").write_bytes(FILES["x.gz"])
        assert_is_whole(read_downloads(tmp_path))

    def test_a_whole_file_with_the_wrong_content_leaves_nothing_that_looks_prepared(self, placed, root, tmp_path):
        (placed / "x.gz").write_bytes(packed(BUNCH.images[:290]))
        with pytest.raises(
            AssayError, match=r"tfds:assay_downloads could not be prepared \(ValueError: zip\(\)"
        ) as caught:
            read_downloads(tmp_path)
        assert "but whole: 1 of 2 (x.gz).\nOr run `tfds build assay_downloads` on another" in str(caught.value)
        assert_nothing_is_prepared(root)
        (placed / "x.gz").write_bytes(FILES["x.gz"])
        assert_is_whole(read_downloads(tmp_path))

    def test_without_a_network_the_message_says_what_to_place_where(self, root, from_url, tmp_path):
        start = time.monotonic()
        with pytest.raises(AssayError) as caught:
            read_downloads(tmp_path)
        assert time.monotonic() - start < 5
        first, *files, last = str(caught.value).splitlines()
        folder = root / "downloads" / "assay_downloads"
        assert first == (
            f"tfds:assay_downloads is not prepared on this machine (looked in {root}/assay_downloads/1.0.0), and no "
            f"server of its files answers. Place these in {folder} and run this again:"
        )
        assert [re.sub(r"\(.*\)", "(...)", line) for line in files] == [
            "  x.gz (...) from http://127.0.0.1:9/x.gz",
            "  y.gz (...) from http://127.0.0.1:9/y.gz",
        ]
        assert last == (
            "Or run `tfds build assay_downloads` on another machine, and copy its "
            f"~/tensorflow_datasets/assay_downloads to {root}, or to the folder that TFDS_DATA_DIR names."
        )

    def test_the_message_names_only_what_is_missing(self, placed, tmp_path):
        (placed / "x.gz").unlink()
        with pytest.raises(AssayError) as caught:
            read_downloads(tmp_path)
        assert [line.split()[0] for line in str(caught.value).splitlines()[1:-1]] == ["x.gz"]
        assert [path.name for path in placed.iterdir()] == ["y.gz"]

    def test_two_files_of_one_name_keep_the_names_of_tensorflow_datasets(self, root, from_url, monkeypatch, tmp_path):
        info = next(iter(AssayDownloads.url_infos.values()))
        urls = [f"{NOWHERE}{folder}/x.gz" for folder in "ab"]
        monkeypatch.setattr(AssayDownloads, "url_infos", dict.fromkeys(urls, info))
        with pytest.raises(AssayError) as caught:
            read_downloads(tmp_path)
        names = [line.split()[0] for line in str(caught.value).splitlines()[1:-1]]
        assert names == [resource.get_dl_fname(url, info.checksum) for url in urls]

    def test_many_missing_files_are_counted(self, root, from_url, monkeypatch, tmp_path):
        info = next(iter(AssayDownloads.url_infos.values()))
        infos = {f"{NOWHERE}{i}.gz": UrlInfo(info.size, info.checksum, None) for i in range(25)}
        monkeypatch.setattr(AssayDownloads, "url_infos", infos)
        with pytest.raises(AssayError, match=r"\n  9\.gz .*\n  and 15 more\nOr run"):
            read_downloads(tmp_path)


@pytest.mark.usefixtures("root")
class TestDownloads:
    def test_what_is_not_placed_is_downloaded(self, from_url, tmp_path):
        for name, file in FILES.items():
            (tmp_path / name).write_bytes(file)
        with serving(partial(Silent, directory=str(tmp_path))) as url:
            from_url(url)
            assert_is_whole(read_downloads(tmp_path))

    def test_one_file_may_be_placed_and_the_other_downloaded(self, placed, from_url, tmp_path):
        (placed / "y.gz").rename(tmp_path / "y.gz")
        with serving(partial(Silent, directory=str(tmp_path))) as url:
            from_url(url)
            assert_is_whole(read_downloads(tmp_path))

    def test_another_file_on_the_server_is_refused(self, root, from_url, tmp_path):
        for name, file in FILES.items():
            (tmp_path / name).write_bytes(file[:-1])
        with serving(partial(Silent, directory=str(tmp_path))) as url:
            from_url(url)
            with pytest.raises(AssayError, match=r"could not be prepared \(NonMatchingChecksumError: .*\n  x\.gz"):
                read_downloads(tmp_path)
        assert_nothing_is_prepared(root)

    @pytest.mark.parametrize(("status", "words"), [(404, "HTTP code: 404"), (503, "no server of its files answers")])
    def test_a_server_without_the_files_is_told_of_at_once(self, root, from_url, tmp_path, status, words):
        start = time.monotonic()
        with serving(answering(status)) as url:
            from_url(url)
            with pytest.raises(AssayError, match=words):
                read_downloads(tmp_path)
        assert time.monotonic() - start < 5
        assert_nothing_is_prepared(root)

    def test_a_network_that_swallows_everything_is_not_waited_for(self, from_url, monkeypatch, tmp_path):
        monkeypatch.setattr(source, "PATIENCE", 0.3)
        with socket.create_server(("127.0.0.1", 0)) as silent:
            from_url(f"http://127.0.0.1:{silent.getsockname()[1]}/")
            start = time.monotonic()
            with pytest.raises(AssayError, match="no server of its files answers"):
                read_downloads(tmp_path)
            assert time.monotonic() - start < 3

    def test_files_that_nobody_wrote_down_are_tried_for_seconds_only(self, root, from_url, monkeypatch, tmp_path):
        monkeypatch.setattr(AssayDownloads, "url_infos", None)
        start = time.monotonic()
        with pytest.raises(AssayError, match=r"could not be prepared \(ConnectionError: "):
            read_downloads(tmp_path)
        assert time.monotonic() - start < 10
        assert_nothing_is_prepared(root)

    def test_what_must_be_fetched_by_hand_is_said_in_the_words_of_the_data_set(self, root, tmp_path):
        with pytest.raises(AssayError) as caught:
            read(DatasetSpec(source="tfds:assay_by_hand"), tmp_path)
        manual = root / "downloads" / "manual"
        assert str(caught.value).splitlines()[0] == (
            f"tfds:assay_by_hand must be downloaded by hand, to the folder {manual} (manual_dir), where nothing is: "
            "Sign in at example.org, and put digits.txt into manual_dir."
        )
        manual.mkdir(parents=True)
        (manual / "other.txt").write_text("")
        with pytest.raises(AssayError, match=r"could not be prepared .* What must be downloaded by hand: Sign in at"):
            read(DatasetSpec(source="tfds:assay_by_hand"), tmp_path)
        (manual / "digits.txt").write_text("digits")
        assert len(read(DatasetSpec(source="tfds:assay_by_hand"), tmp_path).y) == 360


class TestDamage:
    def test_a_copy_that_is_not_complete_is_not_read(self, placed, root, tmp_path):
        (root / "assay_downloads" / "1.0.0").mkdir(parents=True)
        with pytest.raises(
            AssayError, match=r"assay_downloads/1\.0\.0 is not complete, it has no dataset_info\.json; copy"
        ):
            read_downloads(tmp_path)

    @pytest.mark.parametrize("cut", [0, 100])
    def test_a_file_of_records_that_was_cut_off_is_told_of(self, placed, root, tmp_path, cut):
        read_downloads(tmp_path)
        (records,) = (root / "assay_downloads" / "1.0.0").glob("*tfrecord*")
        records.write_bytes(records.read_bytes()[:cut])
        with pytest.raises(
            AssayError, match=r"assay_downloads/1\.0\.0 can't be read \(.*\); copy it again, or remove it"
        ):
            read_downloads(tmp_path)


# docs/fashion-mnist.md

needs_debians_files = pytest.mark.skipif(not DEBIAN.is_dir(), reason="needs Debian's dataset-fashion-mnist")


def blocks(language: str) -> str:
    page = Path(__file__).parents[4] / "docs" / "fashion-mnist.md"
    return "\n".join(re.findall(rf"```{language}\n(.*?)```", page.read_text(), re.DOTALL))


def debians(name: str, header: int) -> np.ndarray:
    with gzip.open(DEBIAN / name) as stream:
        return np.frombuffer(stream.read()[header:], np.uint8)


@pytest.fixture(scope="module")
def page(tmp_path_factory) -> Path:
    """A home folder where the page's commands and its Python were executed."""
    home = tmp_path_factory.mktemp("home")
    copying = [line for line in blocks("sh").splitlines() if line.startswith(("mkdir", "cp"))]
    subprocess.run(["sh", "-ec", "\n".join(copying)], check=True, env={**os.environ, "HOME": str(home)})
    subprocess.run([sys.executable, "-c", blocks("python")], check=True, cwd=home)
    return home


@pytest.fixture(scope="module")
def fashion(page, tmp_path_factory) -> Rows:
    """The 70,000 images, prepared by tensorflow-datasets from the copied files."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tfds.core.constants, "DATA_DIR", str(page / "tensorflow_datasets"))
        return read(DatasetSpec(source="tfds:fashion_mnist"), tmp_path_factory.mktemp("fashion"))


@pytest.mark.slow
@needs_debians_files
def test_debians_fashion_mnist_is_prepared_from_its_files(fashion):
    assert fashion.x.shape == (70000, 28, 28, 1)
    assert np.bincount(fashion.y).tolist() == [7000] * 10
    assert fashion.classes[0] == "T-shirt/top"
    assert {split: len(rows) for split, rows in fashion.splits.items()} == {"train": 60000, "test": 10000}
    test = fashion.splits["test"]
    images = debians("t10k-images-idx3-ubyte.gz", 16).reshape(-1, 784)
    labels = debians("t10k-labels-idx1-ubyte.gz", 8)
    own = zip(map(bytes, np.array(fashion.x[test])), fashion.y[test].tolist(), strict=True)
    assert sorted(own) == sorted(zip(map(bytes, images), labels.tolist(), strict=True))


@pytest.mark.slow
@needs_debians_files
def test_a_folder_per_class_of_the_same_images_is_the_same_data(page, fashion, tmp_path):
    """The same rows, in the same order for every draw, in the same parts: so a study gives the same numbers."""
    folders = DatasetSpec(source=f"images:{page / 'fashion'}", test="test")
    found = read(folders, tmp_path)
    one, other = content(fashion), content(found)
    np.testing.assert_array_equal(one.digests[one.order], other.digests[other.order])
    np.testing.assert_array_equal(fashion.y[one.order], found.y[other.order])
    parts = (
        split(fashion, DatasetSpec(source="tfds:fashion_mnist", test="test"), 2, one),
        split(found, folders, 2, other),
    )
    np.testing.assert_array_equal(parts[0][:, one.order], parts[1][:, other.order])
    assert [np.count_nonzero(parts[0][0] == part) for part in (TRAIN, VALIDATION, TEST)] == [48000, 12000, 10000]
