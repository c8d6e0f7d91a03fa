import re
from pathlib import Path

import yaml

from components.study.study import Study

README = (Path(__file__).parent.parent / "README.md").read_text()


def test_the_study_in_the_readme_is_valid_and_expands_as_it_says():
    block = re.search(r"```yaml\n(.*?)```", README, re.DOTALL)
    assert block
    arms = [arm.name for arm in Study.model_validate(yaml.safe_load(block[1])).expand()]
    assert arms[-3:] == ["mlp instead of cnn", "model.dropout=0.1", "model.dropout=0.5"]
    assert {"no augmentation", "no batch normalization", "bare"} < set(arms)


def test_every_file_that_the_readme_names_is_there():
    for target in re.findall(r"\]\((?!http)([^)]+)\)", README):
        assert (Path(__file__).parent.parent / target).exists(), target
