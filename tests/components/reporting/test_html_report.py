"""The page shows what the study found, holds all it needs, and runs nothing that a name or a text says."""

import base64
import csv
import io
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from components.reporting.html_report import answers, training
from components.reporting.html_report.charts import POINTS
from components.stats.metrics import scores
from components.study.study import Study
from components.tracking import client

VOID = {"meta", "link", "img", "br", "path", "circle", "line", "rect"}
EVIL = "<script>alert(1)</script>\"'&"


class Page(HTMLParser):
    """What is in a page: elements, ids, addresses and text; an element that is not closed is an error."""

    def __init__(self, text: str):
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.words: list[str] = []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())

    def all(self, name: str, of: str | None = None) -> list[dict[str, str | None]]:
        return [attrs for tag, attrs in self.tags if tag == name and (of is None or of in (attrs.get("class") or ""))]

    def addresses(self) -> list[str | None]:
        return [attrs[name] for _, attrs in self.tags for name in ("src", "href", "action", "data") if name in attrs]


def read(file: Path) -> Page:
    return Page(file.read_text("utf-8"))


@pytest.fixture(scope="module")
def page(tiny) -> Page:
    return read(tiny.folder / "verdict" / "report" / "report.html")


def test_every_run_writes_the_page_and_logs_it(tiny, page, in_workplace):
    assert "tiny 1.0" in page.text
    files = {file.path for file in client.client().list_artifacts(tiny.runs.parent)}
    assert "report.html" in files


def test_the_page_has_every_effect_with_its_numbers_in_order(tiny, page):
    effects = sorted(tiny.verdict["effects"], key=lambda effect: -effect["effect"])
    places = [page.text.index(f"{number} {effect['technique']}") for number, effect in enumerate(effects, 1)]
    assert places == sorted(places)
    for effect in effects:
        assert f"{100 * effect['effect']:+z.1f}".replace("-", "\N{MINUS SIGN}") in page.text
        assert effect["verdict"] in page.text
    assert f"{100 * tiny.verdict['test']['winner']['accuracy']:.1f} %" in page.text


def test_the_page_loads_nothing_and_runs_nothing(page):
    assert all((address or "").startswith(("data:", "#")) for address in page.addresses())
    assert page.all("script") == []
    policy = next(attrs for attrs in page.all("meta") if attrs.get("http-equiv") == "Content-Security-Policy")
    assert str(policy["content"]).startswith("default-src 'none'")
    assert not any(name.startswith("on") for _, attrs in page.tags for name in attrs)


def test_ids_are_unique_and_every_reference_leads_somewhere(page):
    ids = [attrs["id"] for _, attrs in page.tags if "id" in attrs]
    assert len(ids) == len(set(ids))
    named = [attrs["aria-labelledby"] for _, attrs in page.tags if "aria-labelledby" in attrs]
    targets = {name for names in named for name in str(names).split()}
    targets |= {str(address)[1:] for address in page.addresses() if str(address).startswith("#")}
    assert targets <= set(ids)


def test_the_study_of_the_page_is_the_study(tiny, page):
    address = next(str(attrs["href"]) for attrs in page.all("a") if attrs.get("download") == "study.yaml")
    text = base64.b64decode(address.partition(",")[2]).decode()
    assert Study.model_validate(yaml.safe_load(text)) == tiny.study
    assert Study.model_validate(yaml.safe_load(text)).digest() == tiny.study.digest()
    assert tiny.prepared.schema.fingerprint in page.text
    assert re.search(r"tensorflow 2\.\d+\.\d+", page.text)


def test_the_images_are_those_of_the_rows_that_are_most_confidently_wrong(tiny):
    winner = tiny.verdict["winner"]
    arm = [arm.name for arm in tiny.study.expand()].index(winner["arm"])
    probabilities = tiny.cell(f"{arm}-{winner['seed']}").probabilities("test")
    rows = tiny.prepared.test_rows
    y = np.asarray(tiny.prepared.y[rows])
    found = answers.wrong_examples(probabilities, y, tiny.prepared)
    assert len(found) == 12
    sure = [one["confidence"] for one in found]
    assert sure == sorted(sure, reverse=True)
    wrong = probabilities.argmax(axis=1) != y
    assert sure[0] == probabilities[wrong].max()
    first = np.flatnonzero(wrong)[probabilities[wrong].max(axis=1).argmax()]
    assert found[0]["true"] == tiny.prepared.schema.classes[y[first]] != found[0]["predicted"]
    image = Image.open(io.BytesIO(base64.b64decode(found[0]["image"].partition(",")[2])))
    raw = np.asarray(tiny.prepared.x[rows[first]], float)[..., 0]
    np.testing.assert_allclose(np.asarray(image) / 255, raw / 16, atol=1 / 255)


def test_a_perfect_model_has_no_wrong_examples(tiny):
    y = np.asarray(tiny.prepared.y[tiny.prepared.test_rows])
    assert answers.wrong_examples(np.eye(10, dtype=np.float32)[y], y, tiny.prepared) == []


def test_reliability_counts_what_comes_true():
    p = np.array([[0.95, 0.05], [0.95, 0.05], [0.3, 0.7], [0.35, 0.65], [1.0, 0.0]])
    y = np.array([0, 1, 1, 1, 0])
    bins = answers.reliability([p], y)
    assert [(round(15 * one["low"]), one["share"]) for one in bins] == [(9, 0.2), (10, 0.2), (14, 0.6)]
    assert bins[-1]["accuracy"] == pytest.approx(2 / 3)
    assert bins[-1]["confidence"] == pytest.approx(2.9 / 3)
    error = sum(one["share"] * abs(one["confidence"] - one["accuracy"]) for one in bins)
    assert error == pytest.approx(scores(p, y)["ece"])


def test_a_table_with_names_that_are_no_names(made_page, tmp_path):
    """Classes, columns and values come from users: on the page they are text."""
    with (tmp_path / "evil.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["target", "<img src=x onerror=alert(1)>", "value"])
        for i in range(90):
            writer.writerow([(EVIL, "b", "c")[i % 3], f"<b>{i % 4}</b>", i % 7 + i / 100])
    text = made_page(data={"source": f"table:{tmp_path / 'evil.csv'}"}, arms={EVIL: {"scale": "none"}}, seeds=3)
    page = read(text)
    assert page.all("script") == page.all("b") == []
    assert all(str(attrs["src"]).startswith("data:") for attrs in page.all("img"))
    assert EVIL in page.text
    assert "<img src=x onerror=alert(1)>" in page.text
    assert "<dense_1>" in page.text
    assert "taken for" in page.text
    assert "<b>1</b>" in page.text  # a value of a wrong example


def test_texts_are_shown_with_their_beginning(made_page, tmp_path):
    rows = [{"text": f"<i>w{i}</i> " + "long " * 90, "label": "ab"[i % 2]} for i in range(60)]
    (tmp_path / "x.jsonl").write_text("\n".join(map(json.dumps, rows)))
    page = read(made_page(data={"source": f"text:{tmp_path / 'x.jsonl'}", "words": 120}, arms={}, seeds=1))
    assert page.all("i", of="x") == []
    shown = page.all("blockquote")
    assert shown
    assert "long long" in page.text
    assert "\N{HORIZONTAL ELLIPSIS}" in page.text
    assert "nobody can say how sure an effect is" not in page.text  # there are no arms
    assert "The reference, compared with nothing, has a validation accuracy of " in page.text


@pytest.mark.parametrize("metric", ["accuracy", "macro_f1", "loss"])
def test_forty_arms_many_classes_and_one_seed(made_page, tmp_path, metric):
    classes = 300
    with (tmp_path / "wide.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["target", *(f"column {i}" for i in range(20))])
        rng = np.random.default_rng(0)
        writer.writerows([f"class {i % classes}", *rng.normal(size=20).round(3)] for i in range(8 * classes))
    values = [round(0.01 * i, 2) for i in range(1, 41)]
    source = f"table:{tmp_path / 'wide.csv'}"
    arms = [{"model.dropout": values}, {"data": [0.5]}]
    file = made_page(data={"source": source}, recipe={"model": {"dropout": 0.0}}, arms=arms, seeds=1, metric=metric)
    page = read(file)
    assert len(page.all("svg", of="strip")) == 41  # the scale, and the arms
    assert "The pairs of classes that are confused most" in page.text
    assert "And 280 more classes." in page.text
    assert "36 more arms" in page.text
    assert "one seed" in page.text
    assert file.stat().st_size < 500_000


def test_ninety_cells_of_digits_stay_below_a_megabyte(made_page):
    arms = ["leave-one-out", {"model.dropout": [0.1, 0.2], "data": [0.5]}]
    file = made_page(draw_preview=True, data={"source": "sklearn:digits"}, arms=arms, seeds=10)
    page = read(file)
    assert int(re.search(r"(\d+) trainings", page.text)[1]) >= 90  # type: ignore[index]
    assert "What augmentation does" in page.text
    assert "Twice the rows would bring" in page.text
    assert file.stat().st_size < 1_000_000


def test_arms_that_are_trained_no_further_are_told(made_page):
    arms = {"wide": {"model.units": [64]}, "<small>": {"model.units": [2]}}
    stopped = {"planned": 8, "stopped": {"<small>": 2}}
    page = read(made_page(data={"source": "sklearn:iris"}, arms=arms, seeds=4, **stopped))
    assert "Trained no further, with the number of their seeds: <small> (2)." in page.text
    assert "Each look spends a part of the 5 %" in page.text
    assert "looked at for the first time, after the choice" in page.text


def test_a_band_ends_where_most_seeds_have_stopped_and_leaves_out_what_is_no_number():
    nan = float("nan")
    epochs, mean, least, most = training.band([[1.0, 3.0, 5.0], [2.0, nan], [3.0, float("inf")]])
    assert epochs == [1, 2]
    assert (mean, least, most) == ([2.0, 3.0], [1.0, 3.0], [3.0, 3.0])
    assert training.band([[nan, nan]]) == ([], [], [], [])
    assert len(training.band([[1.0] * 5000])[0]) == POINTS
