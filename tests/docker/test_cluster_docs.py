"""What docs/cluster.md tells people to write and to type is valid; nothing of it is run."""

import re
import shlex
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import typer
import yaml

from pipeline.cli.main import app
from pipeline.kubeflow.settings import Cluster

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs" / "cluster.md").read_text()
DOCUMENTS = [one for block in re.findall(r"```yaml\n(.*?)```", TEXT, re.DOTALL) for one in yaml.safe_load_all(block)]
COMMANDS = {*re.findall(r"^ +(assay .*)$", TEXT, re.MULTILINE), *re.findall(r"`(assay [a-z]+ [A-Za-z]+ -.*?)`", TEXT)}
ASSAY: Any = typer.main.get_command(app)


def parse(line: str) -> dict[str, object]:
    """Parse a line as the command does, and return what it gives the command's function."""
    _, *arguments = shlex.split(line, comments=True)
    command = ASSAY
    while hasattr(command, "commands"):
        command = command.commands[arguments.pop(0)]
    return command.make_context(command.name, arguments).params


@pytest.mark.parametrize("line", sorted(COMMANDS))
def test_each_command_has_these_options(line):
    assert parse(line)


def test_an_option_that_is_not_there_is_found():
    with pytest.raises(Exception, match="No such option"):
        parse("assay submit iris --no-such-option")


def test_objects_are_valid_for_kubernetes():
    objects = [document for document in DOCUMENTS if "apiVersion" in document]
    assert {described["kind"] for described in objects} == {"PersistentVolumeClaim", "Pod"}
    for described in objects:
        kubernetes_validate.validate(described, "1.33", strict=True)


def test_profiles_are_valid_and_name_the_volume_that_is_made():
    kind, gpus = (Cluster.model_validate(document) for document in DOCUMENTS if "apiVersion" not in document)
    assert kind.tracks()
    assert kind.pvc in {document["metadata"]["name"] for document in DOCUMENTS if "apiVersion" in document}
    assert gpus.gpu
    assert gpus.taints()


def test_the_volume_is_given_to_the_images_user_where_the_steps_mount_it():
    from pipeline.kubeflow.resources import VOLUME

    (pod,) = (document for document in DOCUMENTS if document.get("kind") == "Pod")
    user = re.search(r"^USER (\S+)$", (ROOT / "docker" / "Dockerfile").read_text(), re.MULTILINE)
    assert user
    assert pod["spec"]["initContainers"][0]["command"] == ["chown", user[1], VOLUME]


def test_kubeflow_is_of_the_release_that_the_pipeline_is_compiled_for():
    said = re.search(r"PIPELINE_VERSION=(\d+\.\d+)", TEXT)
    locked = re.search(r"^kfp==(\d+\.\d+)", (ROOT / "docker" / "constraints.txt").read_text(), re.MULTILINE)
    assert said
    assert locked
    assert said[1] == locked[1]
