"""What a user sees in MLflow's UI, in a real browser: the study, its verdict, charts and a comparison of all arms."""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from command import ASSAY, HANGS_SECONDS
from playwright.sync_api import Page, expect, sync_playwright

from components.evaluation.verdict import Verdict
from components.records import from_json
from components.reporting.phrases import sentence

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = [
    pytest.mark.browser,
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed here"),
]

STUDY = (
    "sklearn:iris",
    "--seeds=2",
    "--set=recipe.train.epochs=8",
    "--set=arms={plain: {model.batch_norm: false}, linear: {model.name: logistic}}",
)
ARMS = ("reference", "plain", "linear")
PATIENCE = 60_000  # milliseconds; a loaded machine draws slowly


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A working folder in which a small study ran."""
    folder = tmp_path_factory.mktemp("studies")
    done = subprocess.run([ASSAY, "run", *STUDY], cwd=folder, capture_output=True, text=True, timeout=HANGS_SECONDS)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(scope="module")
def pages(folder: Path) -> Iterator[dict[str, str]]:
    """The addresses that `assay ui` prints, while it serves them."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    shown = {name: value for name, value in os.environ.items() if name not in ("DISPLAY", "WAYLAND_DISPLAY")}
    command = [ASSAY, "ui", "iris", f"--port={port}"]
    with subprocess.Popen(command, cwd=folder, env=shown, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        told: dict[str, str] = {}
        for line in server.stdout:
            if "Ctrl-C" in line:
                break
            if found := re.match(r"(\w+): +(http://\S+)", line):
                told[found[1]] = found[2]
        yield told
        server.send_signal(signal.SIGINT)
        server.stdout.read()
    assert server.returncode == 0


@pytest.fixture(scope="module")
def verdict(folder: Path) -> dict:
    (file,) = folder.glob(".assay/runs/*/verdict.json")
    return json.loads(file.read_text())


@pytest.fixture(scope="module")
def browser_page() -> Iterator[Page]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1600, "height": 1200})
        page.set_default_timeout(PATIENCE)
        yield page
        browser.close()


@pytest.fixture
def look(browser_page: Page, pages: dict[str, str]):
    """Open one of the pages anew."""
    expect.set_options(timeout=PATIENCE)

    def open_page(address: str) -> Page:
        browser_page.goto("about:blank")
        browser_page.goto(address)
        return browser_page

    return open_page


def test_the_experiments_page_shows_the_study(look, pages, verdict):
    experiment = pages["table"].partition("?")[0]
    page = look(f"{experiment}?workflowType=machine_learning")
    expect(page.get_by_role("link", name=verdict["run"])).to_be_visible()


def test_the_table_has_the_arms_alone_with_their_verdicts_the_best_first(look, pages, verdict):
    page = look(pages["table"])
    for arm in ARMS:
        expect(page.get_by_role("link", name=arm, exact=True)).to_be_visible()
    expect(page.get_by_text(f"{len(ARMS)} matching runs")).to_be_visible()
    for column in ("assay.technique", "effect", "low", "high", "assay.verdict", "cost"):
        expect(page.get_by_role("columnheader", name=column, exact=True).first).to_be_visible()
    for effect in verdict["effects"]:
        expect(page.get_by_role("gridcell", name=effect["verdict"], exact=True).first).to_be_visible()
    by_effect = sorted(verdict["effects"], key=lambda effect: -effect["effect"])
    places = [page.get_by_role("link", name=e["arm"], exact=True).bounding_box() for e in by_effect]
    heights = [place["y"] for place in places if place]
    assert heights == sorted(heights)
    assert len(heights) == len(by_effect)


def test_the_charts_are_of_all_arms(look, pages):
    page = look(pages["charts"])
    bars = "document.querySelectorAll('.barlayer .point').length"
    # A bar for each effect and each cost, and the score of the reference, too.
    page.wait_for_function(f"{bars} >= {3 * len(ARMS) - 2}")
    for title in ("What a technique brings that an arm lacks or adds", "Learning curves, means of the seeds"):
        section = page.get_by_role("figure").filter(has_text=title)
        expect(section).to_be_visible()
        section.scroll_into_view_if_needed()
    page.wait_for_function(f"document.querySelectorAll('.scatterlayer .trace').length >= {len(ARMS)}")
    for arm in ARMS:
        expect(page.get_by_role("link", name=arm, exact=True)).to_be_visible()


def test_the_studys_page_has_the_table_of_the_verdict(look, pages, verdict):
    page = look(pages["verdict"])
    expect(page.get_by_text(verdict["run"]).first).to_be_visible()
    expect(page.get_by_text(sentence(from_json(Verdict, json.dumps(verdict), "verdict.json"))).first).to_be_visible()
    table = page.locator("table", has_text="95 % interval")
    for effect in verdict["effects"]:
        expect(table.get_by_role("row").filter(has_text=effect["technique"])).to_contain_text(effect["verdict"])


def test_the_comparison_is_of_all_arms(look, pages):
    page = look(pages["compare"])
    expect(page.get_by_text(f"Comparing {len(ARMS)} Runs from 1 Experiment")).to_be_visible()
    for arm in ARMS:
        expect(page.get_by_text(arm, exact=True).first).to_be_visible()
