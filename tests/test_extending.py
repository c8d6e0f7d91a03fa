"""What docs/extending.md shows is code that the tests run."""

import re
import textwrap
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "extending.md").read_text("utf-8")
SECTIONS = [section for section in PAGE.split("\n## ")[1:] if "```python" in section]


def bare(code: str) -> str:
    """Return code without indentation, which is another one in a test's function."""
    return "\n".join(line.strip() for line in textwrap.dedent(code).splitlines() if line.strip())


@pytest.mark.parametrize("section", SECTIONS, ids=lambda section: section.partition("\n")[0])
def test_the_code_of_the_page_stands_in_its_test(section):
    (test,) = re.findall(r"tests/[\w/]+\.py", section)
    source = bare((ROOT / test).read_text("utf-8"))
    blocks = re.findall(r"```python\n(.*?)```", section, re.DOTALL)
    assert blocks
    assert [block for block in blocks if bare(block) not in source] == []


def test_each_seam_is_there():
    assert len(SECTIONS) == 4
