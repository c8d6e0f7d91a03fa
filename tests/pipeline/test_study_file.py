"""A study is read from a name, a file or a source, and what is wrong is said once, with its place."""

import pytest

from components.errors import UsageError
from components.study.source_types import SOURCE_TYPES
from components.study.study import Study
from pipeline.study_file import read_study, ready_studies, write_study

HEAD = "study: x\ndata: {source: sklearn:digits}\n"


def said(*arguments) -> str:
    with pytest.raises(UsageError) as error:
        read_study(*arguments)
    return str(error.value)


@pytest.fixture
def written(tmp_path):
    def write(text):
        file = tmp_path / "study.yaml"
        file.write_text(text)
        return str(file)

    return write


@pytest.mark.parametrize(
    "source", [*(f"sklearn:{name}" for name in SOURCE_TYPES["sklearn"].names), "tfds:mnist", "tfds:mnist/3.0.1"]
)
def test_a_written_study_means_the_same_as_its_source(source, written):
    text = write_study(source)
    assert read_study(written(text), [], None) == read_study(source, [], None)
    for field in Study.model_fields:
        assert f"\n{field}:" in text


def test_a_source_is_a_study_named_after_it():
    assert read_study("sklearn:wine", [], None).study == "wine"


@pytest.mark.parametrize("name", ["digits", "iris"])
def test_ready_studies_are_valid_and_called_as_their_file(name):
    assert name in ready_studies()
    assert read_study(name, [], None).study == name


def test_a_name_nobody_knows_lists_those_that_are_there():
    message = said("digit", [], None)
    assert "did you mean digits?" in message
    assert "iris" in message
    assert "sklearn:wine" in message


def test_a_file_that_is_not_there_names_its_neighbour(written, tmp_path):
    written(HEAD)
    assert f"did you mean {tmp_path / 'study.yaml'}?" in said(str(tmp_path / "studdy.yaml"), [], None)


@pytest.mark.parametrize(
    ("text", "line", "parts"),
    [
        ("", 1, ["is empty"]),
        ("- digits", 1, ["a mapping"]),
        (HEAD + "seeds: 3\nseeds: 4\n", 4, ["'seeds'", "already on line 3"]),
        (HEAD + "recipe:\n\tmodel: {}\n", 4, ["not YAML", "not with tabs"]),
        (HEAD + "recipe: {model: {dropout: 0.1}\n", 4, ["not YAML"]),
        ("study: x\ndata:\n  source: sklearn: iris\n", 3, ["not YAML", "quotes"]),
        ("study: x\n---\nstudy: y\n", 2, ["one study"]),
        (HEAD + "note: \x01\n", 3, ["'\\x01'"]),
        (HEAD + "sed: 3\n", 3, ["unknown key 'sed'", "expected seeds, or another"]),
        (HEAD + "recipe:\n  model:\n    dropot: 1\n", 5, ["recipe.model.dropot", "did you mean dropout?"]),
        (HEAD + "recipe:\n  train:\n    epochs: ten\n", 5, ["recipe.train.epochs", "a whole number", "'ten'"]),
        (HEAD + "recipe:\n  model: {dropout: 1}\n", 4, ["recipe.model.dropout", "less than 1"]),
        (HEAD + "recipe:\n  model:\n    units: [8, x]\n", 5, ["recipe.model.units.1"]),
        (HEAD + "metric: acuracy\n", 3, ["metric", "did you mean accuracy?"]),
        ("study: x\ndata:\n  source: sklearn:digit\n", 3, ["did you mean sklearn:digits?"]),
        ("study: x\n", 1, ["data", "missing"]),
        (HEAD + "arms:\n  a:\n    scale: none\n    model.dropot: 0.1\n", 6, ["model.dropot", "model.dropout"]),
        (HEAD + "arms:\n  - leave-one-out\n  - b:\n      model.dropout: 2\n", 6, ["less than 1"]),
        (HEAD + "arms: leave-one\n", 3, ["did you mean leave-one-out?"]),
        ("study: 2024\ndata: {source: sklearn:iris}\n", 1, ["expected text", '"2024"']),
        ("study: no\ndata: {source: sklearn:iris}\n", 1, ["YAML reads no as bool", '"no"']),
        (HEAD + "arms:\n  off: {scale: none}\n", 4, ["the key off", '"off"']),
        (HEAD + "recipe:\n  train:\n    early_stopping: {monitor: val_accuracy, mode: min}\n", 5, ["the worst"]),
    ],
)
def test_what_is_wrong_in_a_file_is_one_message_with_the_line(written, text, line, parts):
    file = written(text)
    message = said(file, [], None)
    assert message.startswith(f"{file}:{line}: ")
    assert "\n" not in message
    for part in parts:
        assert part in message


@pytest.mark.parametrize("text", [b"\xff\xfe\x00", b"x: &a [*a]\n", b"study: 2024-13-45\n"])
def test_a_file_that_yaml_chokes_on_is_one_message_too(tmp_path, text):
    file = tmp_path / "study.yaml"
    file.write_bytes(text)
    message = said(str(file), [], None)
    assert message.startswith(str(file))
    assert "\n" not in message


def test_an_override_wins_over_the_file_and_seeds_over_both(written):
    study = read_study(
        written(HEAD + "seeds: x\nrecipe: {train: {early_stopping: false}}\n"),
        ["recipe.train.epochs=3", "recipe.train.early_stopping.patience=2", "arms={a: {scale: tanh}}", "seeds=3"],
        4,
    )
    assert study.recipe.train.epochs == 3
    assert study.recipe.train.early_stopping is not None
    assert study.recipe.train.early_stopping.patience == 2
    assert [arm.name for arm in study.expand()] == ["reference", "a"]
    assert study.seeds == 4


@pytest.mark.parametrize(
    ("override", "parts"),
    [
        ("recipe.train.epochs=0", ["at least 1"]),
        ("recipe.train.epoch=3", ["recipe.train.epochs"]),
        ("epochs=3", ["recipe.train.epochs"]),
        ("metric", ["PATH=VALUE"]),
        ("recipe.train.epochs=[1", ["not YAML"]),
        ("recipe.train={epoch: 1}", ["recipe.train.epoch", "expected epochs"]),
        ("data.source=sklearn:iris", ["recipe.model.name", "cnn needs images"]),
    ],
)
def test_what_is_wrong_in_an_override_names_the_option(written, override, parts):
    message = said(written(HEAD + "recipe: {model: {name: cnn}}\n"), [override], None)
    assert message.startswith(f"--set {override}: ")
    for part in parts:
        assert part in message


def test_a_fault_of_the_file_is_not_blamed_on_an_override(written):
    file = written(HEAD + "recipe:\n  train:\n    epochs: 0\n")
    assert said(file, ["recipe.train.batch_size=8"], None).startswith(f"{file}:5: ")
    assert said(file, [], 0).startswith(f"{file}:5: ")
    assert said(written(HEAD), [], 0).startswith("--seeds 0: ")
