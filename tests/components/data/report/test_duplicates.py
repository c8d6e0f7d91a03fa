"""Rows that are there twice, or nearly."""

import io

import numpy as np
import pytest
from PIL import Image, ImageEnhance
from reports import inspect, issue, kinds, noise, pictures, table

from components.data import report
from components.data.report.data_report import DuplicateCounts, NearDuplicateCounts
from components.errors import AssayError


def test_copies_are_counted_within_and_across():
    x = [[0], [0], [0], [1], [1], [2], [3], [4], [4], [5]]
    found = inspect(table(x, [0, 0, 0, 1, 1, 0, 1, 0, 0, 1]), test=[2, 4, 7, 8], allow=["duplicates"])
    assert found.duplicates == DuplicateCounts(
        copies=4,
        copies_within_test=1,
        copies_within_rest=1,
        test_rows_in_rest=2,
        rows_with_two_labels=0,
    )


def test_test_rows_among_the_rest_stop_the_study_unless_allowed():
    x = noise(40, 4, 4, 1)
    x[35] = x[3]
    rows = pictures(x, names=tuple(f"{i}.png" for i in range(40)))
    found = inspect(rows, test=range(30, 40))
    with pytest.raises(AssayError) as caught:
        report.refuse(found)
    assert str(caught.value).startswith("1 of 10 test rows are also among the rows to train on")
    assert "3.png = 35.png" in str(caught.value)
    assert str(caught.value).endswith("data.allow: [duplicates]")
    allowed = inspect(rows, test=range(30, 40), allow="duplicates")
    report.refuse(allowed)
    assert issue(allowed, "duplicates").level == "warning"


def test_copies_on_one_side_are_only_a_note():
    found = inspect(table([[0], [0], [1], [2]], [0, 0, 1, 1]), test=[3])
    assert kinds(found, "error", "warning") == []
    assert issue(found, "copies").text.startswith("1 row is an exact copy of another one (1 within the rows to")


def test_identical_rows_of_two_classes_are_a_warning():
    found = inspect(table([[0], [0], [1], [2], [1]], [0, 1, 1, 0, 1]))
    assert issue(found, "two-labels").examples == ("row 0 = row 1",)
    assert found.duplicates.rows_with_two_labels == 2


def test_the_same_values_at_a_later_time_are_a_note():
    rows = table([[i % 9] for i in range(10)], [0] * 10, times=np.arange(10))
    found = inspect(rows, test=[9], time="when")
    assert kinds(found, "error") == []
    assert issue(found, "repeated-later").examples == ("row 0 = row 9",)
    assert "every draw" not in issue(found, "copies").text


# Nearly the same images


def saved_again(image: Image.Image, quality: int) -> Image.Image:
    stream = io.BytesIO()
    image.save(stream, "JPEG", quality=quality)
    return Image.open(stream).convert("RGB")


def test_an_image_saved_again_resized_or_brightened_is_nearly_the_same():
    small = noise(30, 8, 8, 3)
    photos = [Image.fromarray(each).resize((64, 64), Image.Resampling.BICUBIC) for each in small]
    copies = [
        photos[0].resize((50, 50)).resize((64, 64)),
        ImageEnhance.Brightness(photos[1]).enhance(1.005),
        saved_again(photos[2], 50),
    ]
    found = inspect(pictures(np.stack([np.asarray(each) for each in photos + copies])), test=[0, 1])
    assert found.near_duplicates == NearDuplicateCounts(pairs=3, pairs_across_test=2)
    assert issue(found, "near-duplicates").examples == ("row 0 ~ row 30", "row 1 ~ row 31", "row 2 ~ row 32")


def test_exact_copies_are_not_counted_again_as_nearly_the_same():
    x = noise(20, 16, 16, 1)
    x[5] = x[6]
    assert inspect(pictures(x)).near_duplicates == NearDuplicateCounts(0, 0)
