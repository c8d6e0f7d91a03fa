import json
import subprocess
import sys
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from components.errors import StudyError
from components.study.model_catalogue import MODELS
from components.study.recipe import (
    APPLIES,
    FOR_KIND,
    Augment,
    Recipe,
    Stage,
    change,
    content_hash,
    merge,
    paths,
)
from components.study.study import Arm, Study, _file_hash
from components.study.techniques import TECHNIQUES
from components.study.validation_errors import explain

HEAVY = ("tensorflow", "keras", "mlflow", "kfp", "sklearn", "pandas", "scipy")


def arms_of(study: Study) -> dict[str, Arm]:
    return {arm.name: arm for arm in study.expand()}


def said(values: dict) -> str:
    """What the user is told of a wrong study."""
    with pytest.raises((StudyError, ValidationError)) as caught:
        Study.model_validate(values)
    error = caught.value
    return str(explain(error, Study) if isinstance(error, ValidationError) else error)


def test_reading_a_study_loads_nothing_heavy():
    code = f"""if 1:
        import sys
        from components.study import Study
        study = Study.model_validate({{"study": "s", "data": {{"source": "sklearn:digits"}}}})
        study.cells(), study.digest()
        print([name for name in {HEAVY} if name in sys.modules])
    """
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


# Defaults


def test_images_get_a_cnn_with_augmentation_and_tables_the_textbook_mlp(make_study):
    image, table = make_study("sklearn:digits"), make_study("sklearn:iris")
    assert (image.data.kind, image.recipe.model.name, image.recipe.scale) == ("image", "cnn", "minmax")
    assert image.recipe.augment.has("warp")
    assert (table.data.kind, table.recipe.model.name, table.recipe.scale) == ("table", "mlp", "standardize")
    assert not table.recipe.augment.on()


def test_what_the_recipe_says_is_laid_over_the_defaults_of_the_kind(make_study):
    study = make_study(recipe={"model": {"dropout": 0.5}, "augment": {"zoom": 0}})
    assert (study.recipe.model.name, study.recipe.model.dropout) == ("cnn", 0.5)
    assert (study.recipe.augment.zoom, study.recipe.augment.rotate) == (0.0, 10.0)


@pytest.mark.parametrize("off", [False, None, "none"])
def test_false_null_and_none_turn_a_part_off(make_study, off):
    recipe = make_study(recipe={"augment": off, "scale": off, "train": {"early_stopping": off}}).recipe
    assert not recipe.augment.on()
    assert recipe.scale == "none"
    assert recipe.train.early_stopping is None


def test_early_stopping_true_means_its_defaults(make_study):
    stopping = make_study(recipe={"train": {"early_stopping": True}}).recipe.train.early_stopping
    assert stopping == make_study().recipe.train.early_stopping
    assert stopping.restore_best


def test_a_study_survives_its_json(make_study):
    study = make_study(arms=["leave-one-out", {"wide": {"model.units": [8, 16]}, "scale": ["none", "tanh"]}])
    again = Study.model_validate_json(study.model_dump_json())
    assert again == study
    assert again.cells() == study.cells()
    assert again.digest() == study.digest()


# Each model has its own defaults


def test_a_model_has_its_own_defaults_unless_the_recipe_says_otherwise(make_study):
    own = make_study("text:x.csv", recipe={"model": {"name": "bilstm"}}).recipe
    assert (own.model.dropout, own.model.batch_norm, own.augment.drop_words) == (0.5, False, 0.1)
    stated = make_study("text:x.csv", recipe={"model": {"name": "bilstm", "dropout": 0.2}}).recipe
    assert (stated.model.dropout, stated.model.batch_norm) == (0.2, False)
    trees = make_study(recipe={"model": {"name": "random_forest"}, "augment": {"rotate": 5}}).recipe
    assert (trees.augment.techniques(), trees.train.early_stopping, trees.scale) == (["rotate"], None, "minmax")


@pytest.mark.parametrize("arms", [{"a": {"model.name": "bilstm"}}, [{"model.name": ["mlp", "bilstm"]}]])
def test_an_arm_with_another_model_has_that_models_defaults(make_study, arms):
    study = make_study("text:x.csv", arms=arms)
    alone = make_study("text:x.csv", recipe={"model": {"name": "bilstm"}}, arms={})
    assert [arm.recipe for arm in study.expand()[1:]] == [alone.recipe]
    assert study.cells()[5].key == alone.cells()[0].key


def test_what_the_recipe_or_the_arm_states_stays_in_an_arm_with_another_model(make_study):
    stated = {"model": {"dropout": 0.3}}  # what it would be anyway: that it is said is what counts
    arms = {"a": {"model.name": "bilstm"}, "b": {"model.name": "bilstm", "model.dropout": 0.1}}
    study = make_study("text:x.csv", recipe=stated, arms=arms)
    again = Study.model_validate_json(study.model_dump_json())
    for read in (study, again):
        found = arms_of(read)
        assert [found[name].recipe.model.dropout for name in ("a", "b")] == [0.3, 0.1]
        assert [found[name].recipe.model.batch_norm for name in ("a", "b")] == [False, False]
    off = make_study(recipe={"augment": "none"}, arms={"a": {"model.name": "random_forest"}})
    assert list(arms_of(off)["a"].changes) == [
        "model.batch_norm",
        "model.dropout",
        "train.early_stopping",
        "train.diagnostics",
        "model.name",
    ]


def test_an_arm_goes_back_to_what_all_models_have(make_study):
    study = make_study("text:x.csv", recipe={"model": {"name": "bilstm"}}, arms={"a": {"model.name": "mlp"}})
    assert arms_of(study)["a"].recipe == make_study("text:x.csv").recipe


def test_every_model_says_what_it_fits_and_its_defaults_are_possible(make_study):
    of_kind = {"image": "sklearn:digits", "table": "sklearn:iris", "text": "text:x.csv"}
    for name, model in MODELS.items():
        for kind, source in of_kind.items():
            values = {"study": "s", "data": {"source": source}, "recipe": {"model": {"name": name}}}
            if kind in model.kinds:
                assert Study.model_validate(values).recipe.model.name == name
            else:
                assert f"{name} needs" in said(values)


def test_the_schema_lists_the_models():
    described = Study.model_json_schema()["$defs"]["Model"]["properties"]["name"]
    assert described["enum"] == list(MODELS)
    for told in (
        "logistic, mlp (any data)",
        "cnn, resnet, applications/NAME (images)",
        "random_forest (images and tables)",
    ):
        assert told in described["description"]


def test_weights_are_told_apart_by_what_is_in_the_file(make_study, tmp_path):
    def key(name: str, content: bytes) -> str:
        (tmp_path / name).write_bytes(content)
        model = {"name": "applications/MobileNet", "weights": str(tmp_path / name)}
        return make_study(recipe={"model": model}, arms={}).cells()[0].key

    assert key("a", b"1") != key("b", b"1")
    _file_hash.cache_clear()
    before = key("a", b"1")
    _file_hash.cache_clear()
    assert before != key("a", b"2")
    with pytest.raises(StudyError, match=r"recipe.model.weights: .*nowhere: can't be read: No such file"):
        make_study(recipe={"model": {"name": "applications/MobileNet", "weights": str(tmp_path / "nowhere")}})


# Expansion


def test_leave_one_out_turns_off_every_technique_that_is_on(make_study):
    arms = arms_of(make_study(recipe={"model": {"l2": 0.001}}))
    assert list(arms) == [
        "reference",
        "no augmentation",
        "no scaling",
        "no batch normalization",
        "no dropout",
        "no L2",
        "no early stopping",
        "bare",
    ]
    reference = arms["reference"].recipe
    assert arms["no batch normalization"].recipe == change(reference, {"model.batch_norm": False}, ())
    assert (arms["no dropout"].technique, arms["no dropout"].removes) == ("dropout", True)
    bare = arms["bare"].recipe
    assert (bare.scale, bare.model.dropout, bare.model.l2, bare.model.batch_norm) == ("none", 0, 0, False)
    assert not bare.augment.on()
    assert bare.train.early_stopping is None


def test_leave_one_out_knows_every_technique(make_study):
    """Batch normalization is off: a layer has one normalization."""
    model = {"batch_norm": False, "layer_norm": True, "l1": 0.1, "l2": 0.1}
    train = {"weight_decay": 0.1, "label_smoothing": 0.1, "class_weights": "balanced", "schedule": "cosine"}
    train |= {"warm_up": 2, "clip_norm": 1.0, "ema": 0.9}
    arms = arms_of(make_study(recipe={"model": model, "train": train}))
    known = [technique.name for technique in TECHNIQUES if technique.name != "batch normalization"]
    assert [arm.technique for arm in arms.values()][1:-1] == known
    bare = arms["bare"].recipe
    off = {"train": {"early_stopping": None, "batch_size": 64}, "model": {"name": "cnn", "batch_norm": False}}
    assert bare == Recipe.model_validate(off)
    assert arms["no class weights"].recipe.train.class_weights == "none"


def test_leave_one_out_has_no_arm_for_what_is_off_already(make_study):
    off = {"augment": "none", "scale": "none", "model": {"dropout": 0.0}, "train": {"early_stopping": False}}
    assert list(arms_of(make_study(recipe=off))) == ["reference", "no batch normalization"]


def test_add_one_in_starts_from_bare_and_ends_with_all(make_study):
    arms = arms_of(make_study(arms="add-one-in"))
    full = make_study().recipe
    assert arms["reference"].recipe == arms_of(make_study())["bare"].recipe
    assert arms["with all"].recipe == full
    dropout = arms["with dropout"]
    assert dropout.recipe == change(arms["reference"].recipe, {"model.dropout": full.model.dropout}, ())
    assert (dropout.technique, dropout.removes) == ("dropout", False)


def test_a_sweep_has_an_arm_for_each_other_value(make_study):
    arms = arms_of(make_study(arms={"scale": ["none", "minmax", "tanh"]}))
    assert list(arms) == ["reference", "scale=none", "scale=tanh"]
    assert arms["scale=tanh"].recipe.scale == "tanh"


@pytest.mark.parametrize(
    ("path", "values"), [("train.early_stopping", [True, False]), ("model.units", [[32, 64], [8]])]
)
def test_a_sweep_knows_the_references_own_value_however_it_is_written(make_study, path, values):
    study = make_study(recipe={"model": {"units": [32, 64]}}, arms={path: values})
    assert len(study.expand()) == 2


def test_named_arms_state_their_differences(make_study):
    arms = arms_of(make_study(arms={"plain": {"model.dropout": 0.0, "augment.rotate": 0}, "same": {}}))
    reference = arms["reference"].recipe
    assert arms["plain"].changes == {"model.dropout": 0.0, "augment.rotate": 0}
    assert arms["plain"].recipe.augment.zoom == reference.augment.zoom
    assert arms["plain"].recipe.model == reference.model.model_copy(update={"dropout": 0.0})
    assert arms["same"].recipe == reference


def test_an_arm_without_one_augmentation_is_about_that_augmentation(make_study):
    recipe = {"augment": {"mixup": 0.2}}
    changes = {
        "a": {"augment.mixup": 0},
        "b": {"augment.rotate": 0.0},
        "c": {"augment": "none"},
        "d": {"augment.zoom": 0.3},
    }
    arms = arms_of(make_study(recipe=recipe, arms=changes))
    told = {name: (arms[name].technique, arms[name].removes) for name in changes}
    assert told == {"a": ("mixup", True), "b": ("rotate", True), "c": ("augmentation", True), "d": ("d", False)}


def test_the_techniques_of_a_recipe_are_those_that_are_on(make_study):
    augment = make_study(recipe={"augment": {"cutmix": 1, "horizontal_flip": True, "zoom": 0}}).recipe.augment
    assert augment.techniques() == ["rotate", "shift", "horizontal_flip", "cutmix"]
    stages = {stage: augment.has(stage) for stage in get_args(Stage)}
    assert stages == {"warp": True, "values": False, "mix": True, "words": False}
    assert augment.on()


def test_every_augmentation_says_where_it_applies():
    assert list(APPLIES) == list(Augment.model_fields)
    assert APPLIES["rand_augment"].stages == ("warp", "values")
    assert FOR_KIND["table"] == ("noise", "mixup")
    assert {*FOR_KIND["image"], *FOR_KIND["text"]} == set(APPLIES)


def test_an_arm_may_set_a_key_of_a_part_that_is_off(make_study):
    off = {"train": {"early_stopping": False}}
    study = make_study(recipe=off, arms={"stop": {"train.early_stopping.patience": 3}})
    stopping = arms_of(study)["stop"].recipe.train.early_stopping
    assert stopping is not None
    assert stopping.patience == 3


def test_a_list_of_arms_joins_them_in_order(make_study):
    study = make_study(arms=["leave-one-out", {"sgd": {"train.optimizer": "sgd"}}, {"scale": ["tanh"]}])
    names = list(arms_of(study))
    assert names[0] == "reference"
    assert names[-3:] == ["bare", "sgd", "scale=tanh"]


def test_presets_with_different_references_can_not_be_joined(make_study):
    """Leave-one-out is relative to the full recipe, add-one-in to the bare one: there is one reference."""
    with pytest.raises(StudyError, match="add-one-in"):
        make_study(arms=["leave-one-out", "add-one-in"])


# Cells and keys


def test_every_arm_gets_every_seed_and_ids_are_unique(make_study):
    cells = make_study(seeds=3, arms={"a": {"scale": "tanh"}}).cells()
    assert [(cell.id, cell.arm, cell.seed) for cell in cells] == [
        ("0-0", "reference", 0),
        ("0-1", "reference", 1),
        ("0-2", "reference", 2),
        ("1-0", "a", 0),
        ("1-1", "a", 1),
        ("1-2", "a", 2),
    ]


def test_cells_with_equal_recipe_and_seed_have_one_key_whatever_they_are_called(make_study):
    cells = make_study(seeds=2, arms={"same": {}, "also": {"model.dropout": 0.3}}).cells()
    by_seed = [{cell.key for cell in cells if cell.seed == seed} for seed in (0, 1)]
    assert [len(keys) for keys in by_seed] == [1, 1]
    assert by_seed[0] != by_seed[1]


def test_name_metric_and_number_of_seeds_are_not_in_the_key(make_study):
    plain = make_study(seeds=1, arms={}).cells()[0]
    other = make_study(seeds=4, arms={"a": {"scale": "none"}}, metric="loss", study="other").cells()[0]
    assert plain.key == other.key


CHANGES = {
    "augment.rotate": 5,
    "augment.shift": 0.2,
    "augment.zoom": 0.2,
    "augment.horizontal_flip": True,
    "augment.noise": 0.1,
    "augment.shear": 5,
    "augment.vertical_flip": True,
    "augment.brightness": 0.1,
    "augment.contrast": 0.1,
    "augment.rand_augment": 0.5,
    "augment.erase": 0.2,
    "augment.mixup": 0.2,
    "augment.cutmix": 1.0,
    "scale": "tanh",
    "scale_per_channel": True,
    "data": 0.5,
    "model.name": "mlp",
    "model.units": [8],
    "model.weights": "backbone.weights.h5",
    "model.frozen": True,
    "model.activation": "tanh",
    "model.batch_norm": False,
    "model.layer_norm": True,
    "model.batch_norm_momentum": 0.5,
    "model.categories": "embedding",
    "model.embedding": 8,
    "model.dropout": 0.1,
    "model.l1": 0.1,
    "model.l2": 0.1,
    "train.epochs": 3,
    "train.batch_size": 7,
    "train.optimizer": "sgd",
    "train.learning_rate": 0.1,
    "train.schedule": "cosine",
    "train.plateau.factor": 0.5,
    "train.plateau.patience": 3,
    "train.warm_up": 2,
    "train.clip_norm": 1.0,
    "train.weight_decay": 0.01,
    "train.label_smoothing": 0.1,
    "train.class_weights": "balanced",
    "train.ema": 0.9,
    "train.early_stopping.monitor": "loss",
    "train.early_stopping.patience": 1,
    "train.early_stopping.mode": "min",
    "train.early_stopping.min_delta": 0.5,
    "train.early_stopping.start_from_epoch": 4,
    "train.early_stopping.restore_best": False,
    "train.diagnostics": False,
    "train.precision": "bfloat16",
    "train.jit": True,
}
OF_ALL_ARMS = {"train.backend": "jax", "train.deterministic": True}


def test_the_changes_above_are_every_leaf_of_the_recipe():
    leaves = {p for p in paths() if not any(q.startswith(f"{p}.") for q in paths())}
    assert {*CHANGES, *OF_ALL_ARMS, *(f"augment.{name}" for name in FOR_KIND["text"])} == leaves


def nested(path: str, value: Any) -> dict[str, Any]:
    """Return `{"a": {"b": value}}` for the path `a.b`."""
    for key in reversed(path.split(".")):
        value = {key: value}
    return value


def test_any_difference_in_the_recipe_is_another_key(make_study):
    arms = {path: {path: value} for path, value in CHANGES.items()}
    arms["model.layer_norm"] |= {"model.batch_norm": False}  # a layer has one normalization
    study = make_study(seeds=1, arms=arms)
    others = [make_study(seeds=1, arms={}, recipe=nested(path, value)) for path, value in OF_ALL_ARMS.items()]
    keys = [cell.key for each in (study, *others) for cell in each.cells()]
    assert len(set(keys)) == len(keys) == 1 + len(CHANGES) + len(OF_ALL_ARMS)


def test_any_difference_in_the_data_is_another_key(make_study):
    data = [{}, {"test": 0.3}, {"validation": 0.3}, {"source": "sklearn:iris"}, {"source": "tfds:mnist"}]
    data += [{"source": "table:x.csv", **more} for more in ({}, {"target": "a"}, {"group": "a"}, {"ignore": ["a"]})]
    keys = {make_study(seeds=1, arms={}, data=changes).cells()[0].key for changes in data}
    assert len(keys) == len(data)


def test_the_digest_tells_studies_apart(make_study):
    studies = [make_study(), make_study(seeds=3), make_study(metric="loss"), make_study(recipe={"scale": "tanh"})]
    assert len({study.digest() for study in studies}) == len(studies)


# What is wrong is said in one sentence


DIGITS = {"source": "sklearn:digits"}
IRIS = {"source": "sklearn:iris"}
CSV = {"source": "table:x.csv"}
TEXT = {"source": "text:x.csv"}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        # unknown keys, at each depth, in any case
        ({"seed": 5}, ["seed: unknown key 'seed'", "expected seeds, or another"]),
        ({"Seeds": 5}, ["Seeds: unknown key 'Seeds'", "expected seeds, or another"]),
        ({"recipe": {"modle": {}}}, ["recipe.modle: unknown key 'modle'", "did you mean model?"]),
        ({"recipe": {"Model": {}}}, ["recipe.Model: unknown key 'Model'", "did you mean model?"]),
        ({"recipe": {"model": {"drop_out": 1}}}, ["recipe.model.drop_out:", "did you mean dropout?"]),
        ({"recipe": {"model": {"Dropout": 1}}}, ["recipe.model.Dropout:", "did you mean dropout?"]),
        ({"recipe": {"train": {"early_stopping": {"patient": 1}}}}, ["early_stopping.patient:", "patience?"]),
        # wrong types and impossible values
        ({"seeds": 0}, ["seeds: expected a value at least 1, got 0"]),
        ({"seeds": 2.5}, ["seeds: expected a whole number, got 2.5"]),
        ({"seeds": True}, ["seeds: expected a whole number, got True"]),
        ({"recipe": 5}, ["recipe: expected a mapping of keys to values, got 5"]),
        ({"recipe": {"model": {"dropout": "much"}}}, ["recipe.model.dropout: expected a number, got 'much'"]),
        ({"recipe": {"model": {"dropout": 1}}}, ["recipe.model.dropout: expected a value less than 1.0, got 1"]),
        ({"recipe": {"model": {"batch_norm": "maybe"}}}, ["recipe.model.batch_norm: expected true or false"]),
        ({"recipe": {"model": {"units": []}}}, ["recipe.model.units: expected at least one entry"]),
        ({"recipe": {"model": {"units": [8, 0]}}}, ["recipe.model.units.1: expected a value at least 1, got 0"]),
        ({"recipe": {"model": {"units": 64}}}, ["recipe.model.units: expected a list, got 64"]),
        ({"recipe": {"model": {"l2": float("inf")}}}, ["recipe.model.l2:", "finite"]),
        ({"recipe": {"train": {"epochs": 0}}}, ["recipe.train.epochs: expected a value at least 1, got 0"]),
        ({"recipe": {"train": {"learning_rate": 0}}}, ["recipe.train.learning_rate: expected a value more than 0"]),
        ({"recipe": {"train": {"early_stopping": 5}}}, ["recipe.train.early_stopping: expected a mapping", "got 5"]),
        ({"recipe": {"train": {"early_stopping": {"mode": "max"}}}}, ["early_stopping: mode 'max'", "'min' or 'auto'"]),
        ({"recipe": {"train": {"early_stopping": {"monitor": "val_macro_f1", "mode": "min"}}}}, ["worst val_macro_f1"]),
        ({"recipe": {"augment": {"rotate": 200}}}, ["recipe.augment.rotate: expected a value at most 180"]),
        (
            {"recipe": {"model": {"layer_norm": True}}},
            ["recipe.model: batch_norm and layer_norm are both on", "set batch_norm or layer_norm to false"],
        ),
        ({"arms": {"a": {"model.layer_norm": True}}}, ["arms.a.model: batch_norm and layer_norm are both on"]),
        (
            {"recipe": {"train": {"epochs": 5, "warm_up": 5}}},
            ["recipe.train: warm_up must be over before training is; expected less than 5, got 5"],
        ),
        (
            {"recipe": {"train": {"epochs": 5, "early_stopping": {"start_from_epoch": 9}}}},
            ["recipe.train: early_stopping.start_from_epoch must be over", "less than 5, got 9"],
        ),
        ({"recipe": {"train": {"label_smoothing": 1}}}, ["train.label_smoothing: expected a value less than 1.0"]),
        ({"recipe": {"train": {"plateau": {"factor": 2}}}}, ["train.plateau.factor: expected a value less than 1.0"]),
        # names
        ({"recipe": {"train": {"schedule": "cos"}}}, ["recipe.train.schedule: got 'cos'", "did you mean cosine?"]),
        ({"recipe": {"train": {"class_weights": "balance"}}}, ["class_weights: got 'balance'", "mean balanced?"]),
        ({"recipe": {"scale": "min-max"}}, ["recipe.scale: got 'min-max'", "did you mean minmax?"]),
        ({"recipe": {"model": {"name": "ccn"}}}, ["recipe.model.name: got 'ccn'; expected cnn, or another"]),
        ({"recipe": {"train": {"optimizer": "Adam"}}}, ["recipe.train.optimizer: got 'Adam'", "did you mean adam?"]),
        ({"recipe": {"train": {"early_stopping": {"monitor": "val_los"}}}}, ["monitor: got 'val_los'", "val_loss?"]),
        ({"metric": "acuracy"}, ["metric: got 'acuracy'", "did you mean accuracy?"]),
        ({"study": "a/b"}, ["study: expected letters, digits, spaces", "got 'a/b'"]),
        # data
        ({"data": 5}, ["data: expected a mapping of keys to values, got 5"]),
        ({"data": {}}, ["data.source: is missing"]),
        ({"data": {"source": "sklearn:digit"}}, ["data.source:", "did you mean sklearn:digits?"]),
        ({"data": {"source": "digits"}}, ["data.source: no source is called 'digits'", "did you mean sklearn:digits?"]),
        ({"data": {"source": "tfds:"}}, ["data.source: no source is called 'tfds:'", "tfds:NAME"]),
        ({"data": {"source": 5}}, ["data.source: expected text, got 5"]),
        ({"data": {**DIGITS, "test": 1.5}}, ["data.test: expected a value less than 1.0, got 1.5"]),
        ({"data": {**DIGITS, "validation": 0}}, ["data.validation: expected a value more than 0"]),
        ({"data": {**IRIS, "kind": "image"}}, ["data.kind: sklearn:iris is table data, got 'image'"]),
        ({"data": {"source": "tfds:x", "kind": "tabel"}}, ["data.kind: got 'tabel'", "did you mean table?"]),
        (
            {"data": IRIS, "recipe": {"model": {"name": "cnn"}}},
            ["name: cnn needs images", "a table; expected one of logistic, mlp, hist"],
        ),
        (
            {"data": TEXT, "recipe": {"model": {"name": "random_forest"}}},
            ["needs images or tables, and the data is text"],
        ),
        (
            {"data": IRIS, "recipe": {"augment": {"rotate": 5, "noise": 1, "cutmix": 1}}},
            ["recipe.augment: rotate, cutmix: for images only", "it can have noise and mixup"],
        ),
        ({"data": IRIS, "arms": {"a": {"augment.erase": 0.1}}}, ["arms.a.augment: erase: for images only"]),
        (
            {"recipe": {"augment": {"mixup": 0.2}, "train": {"batch_size": 1}}},
            ["recipe: mixup and cutmix mix rows of one batch", "train.batch_size", "at least 2, got 1"],
        ),
        ({"recipe": {"augment": {"erase": 1}}}, ["recipe.augment.erase: expected a value less than 1.0, got 1"]),
        ({"recipe": {"augment": {"mixup": -1}}}, ["recipe.augment.mixup: expected a value at least 0"]),
        ({"recipe": {"augment": {"mix_up": 1}}}, ["recipe.augment.mix_up: unknown key", "expected mixup"]),
        # own tables and texts
        ({"data": {"source": "table:"}}, ["data.source: no source is called 'table:'", "table:FILE"]),
        ({"data": {"source": "csv:x"}}, ["data.source: no source is called 'csv:x'", "table:FILE"]),
        ({"data": {**IRIS, "target": "a"}}, ["data.target: only table:FILE and text:FILE have it", "sklearn:iris"]),
        ({"data": {**CSV, "image_size": 8}}, ["data.image_size: only images:DIR has it", "table:x.csv"]),
        ({"data": {"source": "text:x.csv", "categorical": "a"}}, ["data.categorical: only table:FILE has it"]),
        ({"data": {**CSV, "text": "a"}}, ["data.text: only text:FILE has it"]),
        ({"data": {**CSV, "kind": "text"}}, ["data.kind: table:x.csv is table data, got 'text'"]),
        ({"data": {**CSV, "delimiter": ", "}}, ["data.delimiter: expected", "got ', '"]),
        ({"data": {**CSV, "ignore": 5}}, ["data.ignore: expected a list, got 5"]),
        ({"data": {**CSV, "ignore": [""]}}, ["data.ignore.0: expected", "got ''"]),
        ({"data": {**CSV, "target": "a", "ignore": ["a"]}}, ["data.ignore: column 'a' is the target column already"]),
        ({"data": {**CSV, "group": "a", "time": "a"}}, ["data.time: rows are split by group or by time, not by both"]),
        ({"data": {**CSV, "time": "a", "test": "x"}}, ["data.test: with `time` the newest rows are the test; got 'x'"]),
        ({"data": TEXT, "recipe": {"model": {"name": "cnn"}}}, ["cnn needs images, and the data is text"]),
        ({"data": TEXT, "recipe": {"scale": "minmax"}}, ["recipe.scale: words are no numbers", "got minmax"]),
        (
            {"data": TEXT, "arms": {"a": {"augment.mixup": 0.2}}},
            ["mixup: for images and tables only", "drop_words"],
        ),
        ({"data": IRIS, "recipe": {"augment": {"swap_words": 1}}}, ["augment: swap_words: for text only"]),
        ({"recipe": {"augment": {"mask_words": 0.1}}}, ["recipe.augment: mask_words: for text only"]),
        ({"data": IRIS, "recipe": {"scale_per_channel": True}}, ["scale_per_channel: only images have channels"]),
        # arms
        ({"arms": "leave-one-in"}, ["arms: no preset is called 'leave-one-in'", "did you mean leave-one-out?"]),
        ({"arms": {"a": 5}}, ["arms.a: an arm is a mapping of its differences", "got 5"]),
        ({"arms": {"a": {"dropout": 0.1}}}, ["arms.a.dropout: no recipe has 'dropout'", "model.dropout"]),
        ({"arms": {"model.dropuot": [0.1]}}, ["arms.model.dropuot: no recipe has 'model.dropuot'", "model.dropout"]),
        ({"arms": {"a": {"model.dropout": 2}}}, ["arms.a.model.dropout: expected a value less than 1.0, got 2"]),
        ({"arms": [{"a": {"scale": "tan"}}]}, ["arms.0.a.scale: got 'tan'", "did you mean tanh?"]),
        ({"arms": {"reference": {}}}, ["arms: two arms are called 'reference'"]),
        ({"arms": [{"a": {}}, {"a": {}}]}, ["arms: two arms are called 'a'"]),
        ({"data": IRIS, "arms": {"c": {"model.name": "cnn"}}}, ["arms.c.model.name: cnn needs images"]),
        ({"arms": 5}, ["arms: expected", "mapping", "got 5"]),
        ({"arms": {"a": {"scale": ["tanh"]}}}, ["arms.a.scale: got ['tanh']; expected one of none"]),
        ({"arms": {1: {"scale": "tanh"}}}, ["arms.1: expected text, got 1"]),
        (
            {"arms": {"a": {"train.backend": "jax"}}},
            ["arms.a.train.backend: all arms share one process", "expected 'tensorflow'", "got 'jax'"],
        ),
        ({"arms": {"train.deterministic": [True]}}, ["arms.train.deterministic: all arms share", "got True"]),
        ({"recipe": {"train": {"backend": "jaks"}}}, ["recipe.train.backend: got 'jaks'", "did you mean jax?"]),
        ({"recipe": {"train": {"precision": "half"}}}, ["recipe.train.precision: got 'half'; expected one of auto"]),
        ({"recipe": {"train": {"jit": "no"}}}, ["recipe.train.jit: got 'no'; expected one of auto, True, False"]),
        ({"recipe": {"train": {"backend": "jax", "jit": False}}}, ["recipe.train: backend jax always compiles"]),
    ],
)
def test_what_is_wrong_is_one_sentence_with_its_place(changes, words):
    sentence = said({"study": "s", "data": DIGITS, **changes})
    assert "\n" not in sentence
    assert [word for word in words if word not in sentence] == [], sentence


def test_a_single_column_needs_no_list(make_study):
    data = make_study("table:x.csv", data={"ignore": "a", "categorical": "b"}).data
    assert (data.ignore, data.categorical) == (("a",), ("b",))


def test_text_has_its_own_recipe(make_study):
    recipe = make_study("text:x.csv").recipe
    assert (recipe.model.name, recipe.scale, recipe.augment.techniques()) == ("mlp", "none", ["drop_words"])


def test_a_missing_source_and_name_are_named():
    assert said({"data": DIGITS}) == "study: is missing and has no default"
    assert said({"study": "s"}) == "data: is missing and has no default"


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
        max_leaves=6,
    ),
    st.sampled_from(["study", "data", "recipe", "arms", "seeds", "metric", "Other"]),
)
def test_any_nonsense_is_a_study_or_one_sentence(value, key):
    sentence = ""
    try:
        Study.model_validate({"study": "s", "data": DIGITS, key: value})
    except StudyError as error:
        sentence = str(error)
    except ValidationError as error:
        sentence = str(explain(error, Study))
    assert "\n" not in sentence


# Helpers


def test_merge_lays_mappings_over_each_other_and_changes_neither():
    base, over = {"a": {"x": 1, "y": 2}, "b": 1}, {"a": {"y": 3}, "c": {"z": 4}}
    assert merge(base, over) == {"a": {"x": 1, "y": 3}, "b": 1, "c": {"z": 4}}
    assert base == {"a": {"x": 1, "y": 2}, "b": 1}
    assert over == {"a": {"y": 3}, "c": {"z": 4}}


def test_change_leaves_the_recipe_as_it_was():
    recipe = Recipe()
    assert change(recipe, {"model.dropout": 0.5}, ()).model.dropout == 0.5
    assert recipe == Recipe()


def test_the_hash_does_not_depend_on_the_order_of_keys():
    assert content_hash({"a": 1, "b": [2]}) == content_hash(json.loads('{"b": [2], "a": 1}'))
    assert content_hash({"a": 1}) != content_hash({"a": 2})
