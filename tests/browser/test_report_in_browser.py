"""The page in a browser: it loads nothing, says nothing on the console, and passes axe-core's rules."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, sync_playwright

CHROMIUM = next((found for name in ("chromium", "google-chrome") if (found := shutil.which(name))), None)

pytestmark = [pytest.mark.browser, pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as driver:
        opened = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield opened
        opened.close()


@pytest.fixture(scope="module")
def digits(made_page) -> Path:
    arms = ["leave-one-out", {"data": [0.25, 0.5]}]
    return made_page(draw_preview=True, data={"source": "sklearn:digits"}, arms=arms, seeds=3)


@pytest.fixture(scope="module")
def penguins(made_page) -> Path:
    from importlib.resources import files

    source = f"table:{files('palmerpenguins') / 'data' / 'penguins.csv'}"
    return made_page(data={"source": source, "target": "species"}, seeds=2)


@pytest.fixture(params=["digits", "penguins"])
def report(request) -> Path:
    return request.getfixturevalue(request.param)


def opened(browser: Browser, file: Path, scheme: str, width: int) -> tuple[Page, list[str]]:
    """Return the page and all that went wrong: lines on the console, errors, requests beyond the file itself."""
    page = browser.new_page(color_scheme=scheme, viewport={"width": width, "height": 900})  # type: ignore[arg-type]
    noise: list[str] = []
    page.on("console", lambda line: noise.append(line.text))
    page.on("pageerror", lambda error: noise.append(str(error)))
    page.on("request", lambda request: noise.append(request.url))
    page.goto(file.as_uri())
    page.wait_for_load_state("networkidle")
    return page, [line for line in noise if line != file.as_uri() and not line.startswith("data:")]


@pytest.mark.parametrize("width", [1200, 390])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_is_quiet_readable_and_accessible(browser, report, scheme, width):
    page, noise = opened(browser, report, scheme, width)
    assert noise == []
    for closed in page.query_selector_all("details:not([open]) > summary"):
        closed.click()
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    found = Axe().run(page)
    assert found.violations_count == 0, found.generate_report()
    assert len(found.response["passes"]) > 20
    page.close()


def test_every_image_can_be_seen(browser, digits):
    page, _ = opened(browser, digits, "light", 1200)
    sizes = page.evaluate("[...document.images].map(image => image.naturalWidth)")
    assert len(sizes) == 13  # the examples and the preview
    assert min(sizes) > 0
    page.close()


def test_what_a_policy_must_stop_is_stopped(browser, digits, tmp_path):
    """A script or an address that came into the page all the same would not be run or loaded, and this test sees it."""
    bad = tmp_path / "bad.html"
    text = digits.read_text("utf-8")
    bad.write_text(text.replace("<main", "<script>document.title='run'</script><img src='http://x.invalid/'><main", 1))
    page, noise = opened(browser, bad, "light", 1200)
    assert "what helped" in page.title()
    assert any("Content Security Policy" in line for line in noise)
    page.close()
