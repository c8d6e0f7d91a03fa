"""One image file to pixels, for training and for serving alike."""

import io
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
from PIL import Image, UnidentifiedImageError

from components.data.issues import first_line

Seen = TypeVar("Seen")

FORMATS = ("PNG", "JPEG", "BMP", "GIF")
ORIENTATION = 0x0112  # of EXIF: cameras store how they were held, and leave the turning to whoever shows the image
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


@dataclass(frozen=True)
class Header:
    """What is known of an image before it is decoded; sizes are as it is seen, turned."""

    height: int
    width: int
    color: bool
    deep: bool


def header(file: str | bytes) -> Header | str:
    """Return what the file's header says, or why it can't be read; the file is a path, or its bytes."""

    def look(image: Image.Image) -> Header:
        width, height = image.size
        if _turn(image) in (5, 6, 7, 8):
            width, height = height, width
        return Header(height, width, _is_color(image), image.mode.startswith(("I", "F")))

    return _opened(file, look)


def decode(file: str | bytes, shape: tuple[int, ...]) -> np.ndarray | str:
    """Return uint8 of the shape (height, width, channels), or why the file can't be read.

    The image is resized with its aspect kept and centered, and its edge pixels are repeated where it does not fill the
    frame. With one channel it becomes gray. Transparency becomes white, of a GIF the first frame counts, and of 16 bits
    a pixel the upper 8 are kept. The file is a path, or its bytes.
    """
    height, width, channels = shape

    def pixels(image: Image.Image) -> np.ndarray:
        turn = _turn(image)
        if image.format == "JPEG":  # decoded at 1/2, 1/4 or 1/8, where that is still larger than what is wanted
            scale = min(height / image.height, width / image.width)
            if turn in (5, 6, 7, 8):
                scale = min(height / image.width, width / image.height)
            image.draft(None, (max(1, round(image.width * scale)), max(1, round(image.height * scale))))
        flat = _flat(image, "RGB" if channels == 3 else "L")
        if turn in TURNS:
            flat = flat.transpose(TURNS[turn])
        return _framed(flat, height, width).reshape(shape)

    return _opened(file, pixels)


def _opened(file: str | bytes, use: Callable[[Image.Image], Seen]) -> Seen | str:
    """Return what `use` makes of the image, or, as text, why it can't be read."""
    try:
        if isinstance(file, str) and not Path(file).is_file():  # opening a pipe would wait for ever
            return "is a link that leads nowhere" if Path(file).is_symlink() else "is no ordinary file"
        with Image.open(file if isinstance(file, str) else io.BytesIO(file), formats=FORMATS) as image:
            return use(image)
    except UnidentifiedImageError:
        empty = len(file) == 0 if isinstance(file, bytes) else Path(file).stat().st_size == 0
        return "has no bytes" if empty else "is no PNG, JPEG, BMP or GIF image"
    except (Image.DecompressionBombWarning, Image.DecompressionBombError):
        return f"has more than {(Image.MAX_IMAGE_PIXELS or 0) // 10**6} million pixels, which no honest image needs"
    except Exception as error:  # Pillow has a dozen kinds for broken files: SyntaxError, struct.error, IndexError, ...
        return getattr(error, "strerror", None) or first_line(error)


def _turn(image: Image.Image) -> int:
    if "exif" not in image.info:
        return 1
    try:
        return image.getexif().get(ORIENTATION, 1)
    except Exception:  # broken EXIF around a sound image
        return 1


def _is_color(image: Image.Image) -> bool:
    if image.mode in ("P", "PA"):
        palette = np.array(image.getpalette("RGB") or [0]).reshape(-1, 3 if image.getpalette("RGB") else 1)
        return bool((palette != palette[:, :1]).any())
    return image.mode not in ("1", "L", "LA", "La", "F") and not image.mode.startswith("I")


def _flat(image: Image.Image, mode: str) -> Image.Image:
    """Return the image without transparency, in the mode "RGB" or "L"."""
    if image.mode.startswith(("I", "F")):  # Pillow's own conversion clips at 255
        deep = np.clip(np.asarray(image, np.int64), 0, 65535)
        image = Image.fromarray((deep >> 8).astype(np.uint8))
    elif image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info:
        over = image.convert("RGBA")
        white = Image.new("RGBA", over.size, "white")
        white.alpha_composite(over)
        image = white.convert("RGB")
    return image.convert(mode)


def _framed(image: Image.Image, height: int, width: int) -> np.ndarray:
    """Return the image resized into the frame, centered, its edges repeated."""
    scale = min(height / image.height, width / image.width)
    fitted = (min(width, max(1, round(image.width * scale))), min(height, max(1, round(image.height * scale))))
    if image.size != fitted:
        image = image.resize(fitted, Image.Resampling.BILINEAR)  # Pillow averages where it makes smaller
    pixels = np.asarray(image)
    top, left = (height - fitted[1]) // 2, (width - fitted[0]) // 2
    if pixels.shape[:2] == (height, width):
        return pixels
    around = [(top, height - fitted[1] - top), (left, width - fitted[0] - left)]
    return np.pad(pixels, around + [(0, 0)] * (pixels.ndim - 2), mode="edge")
