"""The user's own image folders: what becomes of each kind of file, and one clear message for each kind of damage."""

import os
import shutil
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from components.data.image_files import ORIENTATION
from components.data.preparation import prepare
from components.data.sources import images, read
from components.errors import AssayError
from components.study.dataset import DatasetSpec

GREY = np.arange(30, dtype=np.uint8).reshape(5, 6) * 8


def save(file: Path, pixels: np.ndarray = GREY, **how) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(file, **how)
    return file


def noise(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, shape, np.uint8)


def read_images(folder: Path, scratch: Path, **data):
    scratch.mkdir(exist_ok=True)
    return read(DatasetSpec(source=f"images:{folder}", **data), scratch)


@pytest.fixture
def root(tmp_path) -> Path:
    """Two classes with ten different grey images each."""
    for i in range(20):
        save(tmp_path / "pets" / ("cat", "dog")[i % 2] / f"{i:02}.png", noise(i, 5, 6))
    return tmp_path / "pets"


@pytest.fixture
def refused(tmp_path):
    """Reads the folder and returns the one message with which it is refused."""

    def message(folder: Path, **data) -> str:
        with pytest.raises(AssayError) as caught:
            read_images(folder, tmp_path / "scratch", **data)
        assert "\n" not in str(caught.value)
        assert not (tmp_path / "scratch" / "x.npy").exists()
        assert caught.value.exit_code == 1
        return str(caught.value)

    return message


# Rows


def test_images_are_in_the_order_of_the_paths(root, tmp_path):
    rows = read_images(root, tmp_path / "scratch")
    assert rows.classes == ("cat", "dog")
    assert rows.y.tolist() == [0] * 10 + [1] * 10
    assert rows.names[:2] == ("cat/00.png", "cat/02.png")
    assert (rows.x.shape, rows.x.dtype) == ((20, 5, 6, 1), np.uint8)
    for row, name in zip(rows.x, rows.names, strict=True):
        np.testing.assert_array_equal(row[..., 0], noise(int(name[4:6]), 5, 6))


def test_images_are_mapped_from_the_prepared_folder_and_not_written_twice(root, make_study, tmp_path):
    prepared = prepare(make_study(f"images:{root}", arms={}, seeds=2), tmp_path / "data")
    assert sorted(path.name for path in (tmp_path / "data").iterdir()) == [
        "data.json", "digests.npy", "order.npy", "parts.npy", "report", "study.json", "units.npy", "x.npy", "y.npy",
    ]  # fmt: skip
    assert isinstance(prepared.x, np.memmap)
    np.testing.assert_array_equal(prepared.x[1, ..., 0], noise(2, 5, 6))
    np.testing.assert_array_equal(prepared.x[19, ..., 0], noise(19, 5, 6))
    assert prepared.schema.splits == {"test": 4, "validation": 3, "train": 13}
    again = prepare(make_study(f"images:{root}", arms={}, seeds=2), tmp_path / "again")
    assert again.schema.fingerprint == prepared.schema.fingerprint


# Pixels


def one(tmp_path, pixels: np.ndarray | Image.Image, ending: str = "png", **data) -> np.ndarray:
    """Return what becomes of one image, beside a grey one of the same size."""
    image = Image.fromarray(pixels) if isinstance(pixels, np.ndarray) else pixels
    (tmp_path / "in" / "a").mkdir(parents=True)
    image.save(tmp_path / "in" / "a" / f"x.{ending}", **data.pop("save", {}))
    save(tmp_path / "in" / "b" / "x.png", np.zeros((image.height, image.width), np.uint8))
    return np.array(read_images(tmp_path / "in", tmp_path / "scratch", **data).x[0])


@pytest.mark.parametrize("ending", ["png", "PNG", "bmp", "gif"])
def test_lossless_grey_images_keep_every_pixel_and_one_channel(tmp_path, ending):
    np.testing.assert_array_equal(one(tmp_path, GREY, ending)[..., 0], GREY)


@pytest.mark.parametrize("ending", ["jpg", "jpeg", "JPG"])
def test_jpeg_is_read_as_pillow_reads_it(tmp_path, ending):
    found = one(tmp_path, noise(0, 16, 16, 3), ending)
    np.testing.assert_array_equal(found, np.asarray(Image.open(tmp_path / "in" / "a" / f"x.{ending}")))


def test_one_color_image_gives_all_three_channels(tmp_path):
    color = noise(0, 5, 6, 3)
    np.testing.assert_array_equal(one(tmp_path, color), color)
    assert read_images(tmp_path / "in", tmp_path / "scratch").x.shape == (2, 5, 6, 3)


def test_a_palette_of_greys_is_grey_and_one_of_colors_is_not(tmp_path):
    grey = Image.fromarray(GREY).convert("P")
    assert one(tmp_path / "grey", grey).shape == (5, 6, 1)
    color = Image.fromarray(noise(0, 5, 6, 3)).quantize(4)
    np.testing.assert_array_equal(one(tmp_path / "color", color), np.asarray(color.convert("RGB")))


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_transparency_becomes_white(tmp_path, mode):
    image = Image.new(mode, (4, 4), (0, 0, 0, 0) if mode == "RGBA" else (0, 0))
    image.putpixel((1, 2), (10, 20, 30, 255) if mode == "RGBA" else (10, 255))
    found = one(tmp_path, image)
    assert found.shape == (4, 4, 3 if mode == "RGBA" else 1)
    assert found[2, 1].tolist() == ([10, 20, 30] if mode == "RGBA" else [10])
    found[2, 1] = 255
    assert (found == 255).all()


def test_of_sixteen_bits_the_upper_eight_are_kept_and_it_is_said(tmp_path):
    deep = np.array([[0, 255, 256], [4096, 65279, 65535]], np.uint16)
    assert one(tmp_path, deep)[..., 0].tolist() == [[0, 0, 1], [16, 254, 255]]
    (issue,) = read_images(tmp_path / "in", tmp_path / "scratch").issues
    assert (issue.level, issue.text) == ("note", "of images with 16 bits a pixel the upper 8 are kept: 1")


def test_of_a_moving_gif_the_first_frame_counts(tmp_path):
    frames = [Image.fromarray(np.full((4, 4), value, np.uint8)) for value in (7, 200)]
    assert (one(tmp_path, frames[0], "gif", save={"save_all": True, "append_images": frames[1:]}) == 7).all()


@pytest.mark.parametrize("turn", range(1, 9))
def test_photos_are_turned_as_the_camera_was_held(tmp_path, turn):
    exif = Image.Exif()
    exif[ORIENTATION] = turn
    photo = noise(0, 2, 3, 3).repeat(8, 0).repeat(8, 1)
    file = save(tmp_path / "in" / "a" / "x.jpg", photo, exif=exif, quality=95)
    from PIL import ImageOps

    expected = np.asarray(ImageOps.exif_transpose(Image.open(file)))
    save(tmp_path / "in" / "b" / "x.png", np.zeros(expected.shape[:2], np.uint8))
    np.testing.assert_array_equal(read_images(tmp_path / "in", tmp_path / "scratch").x[0], expected)


# Sizes


def test_resizing_keeps_the_aspect_centres_and_repeats_the_edges(tmp_path):
    wide = np.zeros((4, 8), np.uint8)
    wide[0], wide[3] = 50, 90
    found = one(tmp_path, wide, image_size=[8, 8])[..., 0]
    assert (found[:3] == 50).all()
    assert (found[5:] == 90).all()
    assert (found[3:5] == 0).all()


@pytest.mark.parametrize(("given", "shape"), [(12, (12, 12)), ([4, 9], (4, 9)), ([9, 4], (9, 4))])
@pytest.mark.parametrize("size", [(5, 6), (40, 3), (3, 40), (1, 1)])
def test_any_size_is_brought_into_any_frame(tmp_path, given, shape, size):
    found = one(tmp_path, np.full(size, 77, np.uint8), image_size=given)
    assert found.shape == (*shape, 1)
    assert (found == 77).all()


def test_a_large_jpeg_made_smaller_is_what_slow_decoding_gives(tmp_path):
    y, x = np.mgrid[:256, :512]
    photo = np.stack([x / 2, y, 255 - x / 2], axis=-1).astype(np.uint8)
    found = one(tmp_path, photo, "jpg", image_size=32)
    slow = Image.open(tmp_path / "in" / "a" / "x.jpg").resize((32, 16), Image.Resampling.BILINEAR)
    assert np.abs(found[8:24].astype(int) - np.asarray(slow)).max() <= 4


def test_sizes_before_resizing_are_kept_for_the_report(root, tmp_path):
    save(root / "cat" / "tall.png", noise(99, 9, 4))
    rows = read_images(root, tmp_path / "scratch", image_size=5)
    assert rows.sizes is not None
    assert rows.sizes[rows.names.index("cat/tall.png")].tolist() == [9, 4]


def test_several_sizes_are_listed_with_how_often_they_occur_and_the_way_out(root, refused):
    for i in range(7):
        save(root / "dog" / f"odd{i}.png", noise(i, 7 + i, 7))
    message = refused(root)
    assert "8 sizes, height x width: 5x6 (20), 7x7 (1)" in message
    assert "and 3 more" in message
    assert "--set data.image_size=[5,6]" in message


# Damage


def truncated(file: Path) -> None:
    save(file, noise(0, 64, 64, 3), quality=95)
    file.write_bytes(file.read_bytes()[:3000])


def bomb(file: Path) -> None:
    """A PNG of 44 bytes that says it has 400 million pixels."""

    def chunk(name: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", 20_000, 20_000, 8, 0, 0, 0, 0))
    file.write_bytes(b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", b""))


BROKEN = [
    ("cut.jpg", truncated, "truncated"),
    ("text.png", lambda file: file.write_text("not an image"), "is no PNG, JPEG, BMP or GIF image"),
    ("empty.png", lambda file: file.write_bytes(b""), "has no bytes"),
    ("gone.png", lambda file: file.symlink_to("nowhere"), "is a link that leads nowhere"),
    ("pipe.png", os.mkfifo, "is no ordinary file"),
    ("bomb.png", bomb, "has more than 89 million pixels"),
    ("tiff.png", lambda file: Image.fromarray(GREY).save(file, "TIFF"), "is no PNG, JPEG, BMP or GIF image"),
    ("half.png", lambda file: file.write_bytes(save(file).read_bytes()[:45]), "half.png"),
]


@pytest.mark.parametrize(("name", "break_", "words"), BROKEN, ids=[name for name, _, _ in BROKEN])
def test_a_file_that_cannot_be_read_is_named_and_can_be_let_go(root, refused, tmp_path, name, break_, words):
    break_(root / "cat" / name)
    size = {"image_size": [5, 6]}
    message = refused(root, **size)
    assert f"1 of 21 image files can't be read: cat/{name} " in message
    assert words in message
    rows = read_images(root, tmp_path / "scratch", **size, allow=["unreadable-files"])
    assert (len(rows.y), rows.x.shape[0], len(rows.names)) == (20, 20, 20)
    np.testing.assert_array_equal(rows.x[-1, ..., 0], noise(19, 5, 6))
    assert words in rows.issues[0].examples[0]


def test_no_permission_is_one_message_even_where_root_runs_the_tests(root, refused, monkeypatch):
    def denied(path, **_):
        raise PermissionError(13, "Permission denied", path)

    monkeypatch.setattr(images.Image, "open", denied)
    assert "20 of 20 image files can't be read" in refused(root)


def test_a_class_without_a_readable_image_is_named(root, tmp_path):
    for file in (root / "cat").iterdir():
        file.write_bytes(b"")
    with pytest.raises(AssayError, match="no image of class 'cat' can be read"):
        read_images(root, tmp_path / "scratch", allow=["unreadable-files"])
    assert list((tmp_path / "scratch").iterdir()) == []


def test_a_folder_that_is_none_is_one_message(root, refused):
    assert f"images:{root / 'gone'}: the folder is not there; expected a folder per class" in refused(root / "gone")
    assert "00.png: the folder is a file, and not a folder" in refused(root / "cat" / "00.png")


def test_one_image_in_a_class_is_too_few_to_split(root, make_study, tmp_path):
    save(root / "emu" / "x.png", noise(77, 5, 6))
    with pytest.raises(AssayError, match=r"too few rows to split: .* 1 of class 'emu'"):
        prepare(make_study(f"images:{root}", arms={}), tmp_path / "data")


def test_a_full_disk_is_said_before_anything_is_decoded(root, refused, monkeypatch):
    usage = shutil.disk_usage(root)._replace(free=10)
    monkeypatch.setattr("components.data.sources.shutil.disk_usage", lambda _: usage)
    assert "the rows need 0.0 GB" in refused(root)


# Real data: Debian's package `dataset-fashion-mnist`


FASHION = Path("/usr/share/datasets/fashion-mnist")


@pytest.mark.skipif(not FASHION.is_dir(), reason="needs Debian's package dataset-fashion-mnist")
def test_fashion_mnist_as_files_is_the_same_as_its_arrays(tmp_path):
    import gzip

    x = np.frombuffer(gzip.decompress((FASHION / "t10k-images-idx3-ubyte.gz").read_bytes()), np.uint8, offset=16)
    y = np.frombuffer(gzip.decompress((FASHION / "t10k-labels-idx1-ubyte.gz").read_bytes()), np.uint8, offset=8)
    x, y = x.reshape(-1, 28, 28)[:2000], y[:2000]
    for i, (pixels, label) in enumerate(zip(x, y, strict=True)):
        save(tmp_path / "fashion" / str(label) / f"{i:04}.png", pixels)
    rows = read_images(tmp_path / "fashion", tmp_path / "scratch")
    order = np.argsort(y, kind="stable")
    np.testing.assert_array_equal(rows.x[..., 0], x[order])
    np.testing.assert_array_equal(rows.y, y[order])
