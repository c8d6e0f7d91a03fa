"""Reads a study from a YAML file, a ready study's name or a source, and writes a commented one.

What is wrong is said in one message that names the file and line, or the option, it stands in.
"""

import difflib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError

from components.errors import StudyError, UsageError
from components.formatting import did_you_mean
from components.study.dataset import DatasetSpec
from components.study.recipe import FOR_KIND, ONLY_FOR, Augment, paths
from components.study.source_types import SOURCE_TYPES, all_options
from components.study.study import Study
from components.study.validation_errors import explain

Place = tuple[str | int, ...]

CLUSTER = "cluster"  # the file's section that is not of the study; see `pipeline.kubeflow.settings`

# Of files with rows; see `components.data.sources.files`.
FILE_ENDING = re.compile(r"\.(csv|tsv|jsonl|ndjson|parquet)(\.gz)?$", re.IGNORECASE)


@dataclass(frozen=True)
class Document:
    """A study, or a cluster's profile, as it was written: its values, and where each of them stands."""

    name: str
    values: dict[str, object]
    root: yaml.Node | None = None

    def locate(self, error: StudyError) -> str:
        """Return the error with the file and line in front, where there is a file."""
        if self.root is None:
            return f"{self.name}: {error}"
        node = _nearest(self.root, error.path)
        return f"{self.name}:{node.start_mark.line + 1}: {error}{_hint(node, error)}"


@dataclass(frozen=True)
class _Override:
    """A value given on the command line, and the option that gave it."""

    option: str
    path: tuple[str, ...]
    value: object


def ready_studies() -> dict[str, str]:
    """Return the studies that come with Assay: their names, and their YAML text."""
    folder = resources.files("pipeline") / "studies"
    files = (entry for entry in folder.iterdir() if entry.name.endswith(".yaml"))
    return {entry.name.removesuffix(".yaml"): entry.read_text("utf-8") for entry in sorted(files, key=lambda e: e.name)}


def read_study(
    study: str | Mapping[str, object],
    overrides: list[str],
    seeds: int | None,
    retrain: bool = False,
    study_if_drift: bool = False,
) -> Study:
    """Return the study that the user means, with the overrides laid over it.

    Args:
        study: the name of a ready study, the path of a YAML file, a source such as `sklearn:wine`, or what a file says.
        overrides: `path=value` each; the path counts from the study's top, the value is YAML.
        seeds: replaces the study's number of seeds; of a retraining, that one's.
        retrain: whether to train the champion's recipe again instead.
        study_if_drift: whether a retraining becomes the whole study where the data has drifted.

    Raises:
        UsageError: for anything wrong with it; the message names the file and line, or the option.
    """
    document = read_document(study) if isinstance(study, str) else Document("study", dict(study))
    given = [_parse_override(text) for text in overrides]
    if seeds is not None:
        given.append(_Override(f"--seeds {seeds}", ("retrain", "seeds") if retrain else ("seeds",), seeds))
    if retrain:
        given.append(_Override("--retrain", ("retrain", "enabled"), True))
    if study_if_drift and not retrain:
        raise UsageError("--study-if-drift is for a retraining; add --retrain")
    if study_if_drift:
        given.append(_Override("--study-if-drift", ("retrain", "study_if_drift"), True))
    values = document.values
    for override in given:
        values = _put(values, override.path, override.value)
    try:
        return _validated(values)
    except StudyError as error:
        raise UsageError(_blame(error, document, given)) from None


def study_name(study: str) -> str:
    """Return the name in MLflow of a study that is given by name, file or source.

    Raises:
        UsageError: as of `read_study`.
    """
    is_name = not study.endswith((".yaml", ".yml")) and ":" not in study
    return study if is_name else read_study(study, [], None).study


def write_study(source: str) -> str:
    """Return a commented study file for a source; it means the same as the source alone.

    It states every default of what this source and this kind of data can have.
    """
    study = _validated(_from_source(source))
    head = "# A study for Assay. Every value here is the default: delete what you don't want to change.\n"
    return head + "\n".join(_lines(study, study.model_dump(mode="json"), _of_others(study.data))) + "\n"


def read_yaml(file: Path) -> Document:
    """Return a YAML file that holds a mapping.

    Raises:
        UsageError: when it is not there, or is none.
    """
    return _parse(str(file), _read(file))


def read_document(study: str) -> Document:
    """Return what a study's file, ready study or source says, unchecked.

    Raises:
        UsageError: when there is no such study, or its file is no YAML.
    """
    if study.endswith((".yaml", ".yml")):
        return read_yaml(Path(study))
    ready = ready_studies()
    if study in ready:
        return _parse(f"{study}.yaml", ready[study])
    if ":" in study:
        return Document(study, _from_source(study))
    if Path(study).is_dir():
        raise UsageError(f"{study} is a folder; give the source images:{study}, or text:{study} for .txt files")
    if FILE_ENDING.search(study):
        raise UsageError(f"{study} is no study; give the source table:{study}, or text:{study}")
    raise UsageError(
        f"no study is called {study!r}; expected {did_you_mean(study, ready)}, the path of a .yaml file, or a source "
        "such as sklearn:wine"
    )


def _from_source(source: str) -> dict[str, object]:
    """Return the study of a source with nothing else said, named after the source."""
    scheme, _, name = source.partition(":")
    if scheme in SOURCE_TYPES and SOURCE_TYPES[scheme].is_path:
        name = name if "://" in name else str(Path(name).expanduser().resolve())
        name = FILE_ENDING.sub("", name.rstrip("/").rpartition("/")[2])
    return named(name, source)


def named(name: str, source: str) -> dict[str, object]:
    """Return the study of a source with nothing else said; of its name is left what a study may be called."""
    name = re.sub(r"[^A-Za-z0-9_.\- ]+", "-", name).lstrip("_.- ")
    return {"study": name[:100] or "study", "data": {"source": source}}


def _read(path: Path) -> str:
    try:
        return path.read_text("utf-8-sig")
    except FileNotFoundError:
        folder = path.parent
        names = [other.name for other in folder.glob("*.y*ml")] if folder.is_dir() else []
        near = difflib.get_close_matches(path.name, names, n=1)
        hint = f" (did you mean {folder / near[0]}?)" if near else ""
        raise UsageError(f"{path}: there is no such file{hint}; `assay init SOURCE -o {path}` writes one") from None
    except UnicodeDecodeError:
        raise UsageError(f"{path}: is not text; expected a study in YAML, in UTF-8") from None
    except OSError as error:
        raise UsageError(f"{path}: can't be read: {error.strerror}") from None


def _parse(name: str, text: str) -> Document:
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
        if root is None:
            raise UsageError(f"{name}:1: the file is empty; expected a study: `assay init SOURCE` writes one")
        if not isinstance(root, yaml.MappingNode):
            raise UsageError(f"{name}:1: expected a mapping of keys to values, such as `study: NAME`")
        _refuse_odd_keys(name, root)
        values = yaml.safe_load(text)
    except yaml.MarkedYAMLError as error:
        raise UsageError(_yaml_message(name, error)) from None
    except yaml.reader.ReaderError as error:
        line = text[: error.position].count("\n") + 1
        raise UsageError(f"{name}:{line}: a character that YAML does not allow: {text[error.position]!r}") from None
    except (ValueError, RecursionError) as error:  # such as the date 2024-13-45, or an anchor inside itself
        raise UsageError(f"{name}: has a value that YAML can't read: {error}") from None
    return Document(name, values, root)


def _yaml_message(name: str, error: yaml.MarkedYAMLError) -> str:
    mark = error.problem_mark or error.context_mark
    line = mark.line + 1 if mark else 1
    problem = error.problem or error.context or "unknown reason"
    hint = ""
    if "'\\t'" in problem:
        hint = "; indent with spaces, not with tabs"
    elif "mapping values are not allowed" in problem:
        hint = "; is the indentation right? A text with a colon and a space in it needs quotes"
    elif "single document" in (error.context or ""):
        hint = "; a file holds one study, without a line of ---"
    elif error.context:
        hint = f" ({error.context})"
    return f"{name}:{line}: is not YAML: {problem}{hint}"


def _refuse_odd_keys(name: str, node: yaml.Node) -> None:
    """Refuse a key that is there twice, which YAML would silently drop, or that is no text."""
    if isinstance(node, yaml.SequenceNode):
        for item in node.value:
            _refuse_odd_keys(name, item)
    if not isinstance(node, yaml.MappingNode):
        return
    lines: dict[str, int] = {}
    for key, value in node.value:
        line = key.start_mark.line + 1
        if not isinstance(key, yaml.ScalarNode):
            raise UsageError(f"{name}:{line}: a key must be text, got a list or mapping")
        if key.tag not in ("tag:yaml.org,2002:str", "tag:yaml.org,2002:merge"):
            kind = key.tag.rpartition(":")[2]
            raise UsageError(
                f'{name}:{line}: YAML reads the key {key.value} as {kind}; put it in quotes: "{key.value}"'
            )
        if key.value in lines and key.value != "<<":
            raise UsageError(
                f"{name}:{line}: the key {key.value!r} is already on line {lines[key.value]}; expected it once"
            )
        lines[key.value] = line
        _refuse_odd_keys(name, value)


def _nearest(node: yaml.Node, path: Place) -> yaml.Node:
    """Return the node at the path, or the last one on the way there."""
    if isinstance(node, yaml.MappingNode):
        # An arm's key is itself a path, `model.dropout`, so several parts may be one key.
        for end in range(len(path), 0, -1):
            wanted = ".".join(str(part) for part in path[:end])
            for key, value in node.value:
                if key.value == wanted:
                    found = _nearest(value, path[end:])
                    return key if found is value and not isinstance(value, yaml.ScalarNode) else found
    elif isinstance(node, yaml.SequenceNode) and path and isinstance(path[0], int) and path[0] < len(node.value):
        return _nearest(node.value[path[0]], path[1:])
    return node


def _hint(node: yaml.Node, error: StudyError) -> str:
    """Return a hint where YAML read a plain word as something else than text."""
    if not isinstance(node, yaml.ScalarNode) or node.style is not None or "got " not in str(error):
        return ""
    kind = node.tag.rpartition(":")[2]
    yes_or_no = kind == "bool" and node.value.lower() not in ("true", "false")
    if yes_or_no or (kind not in ("str", "bool", "null") and "expected text" in str(error)):
        return f' (YAML reads {node.value} as {kind}; put it in quotes for text: "{node.value}")'
    return ""


def _parse_override(text: str) -> _Override:
    option = f"--set {text}"
    path, equals, value = text.partition("=")
    path = path.strip()
    if not equals or not path:
        raise UsageError(f"{option}: expected PATH=VALUE, as in recipe.train.epochs=5")
    known = paths(Study)
    if path not in known:
        raise UsageError(f"{option}: no study has {path!r}; expected {did_you_mean(path, known)}")
    try:
        return _Override(option, tuple(path.split(".")), yaml.safe_load(value))
    except (yaml.YAMLError, ValueError) as error:
        raise UsageError(f"{option}: the value is not YAML: {getattr(error, 'problem', None) or error}") from None


def _put(values: object, path: tuple[str, ...], value: object) -> dict[str, object]:
    """Return the values with one more at the path; what is in the way and no mapping (`augment: none`) is replaced."""
    before = values if isinstance(values, Mapping) else {}
    inner = _put(before.get(path[0]), path[1:], value) if path[1:] else value
    return {**before, path[0]: inner}


def _validated(values: Mapping[str, object]) -> Study:
    """Return the study, or raise a StudyError for the first thing that is wrong."""
    try:
        return Study.model_validate({key: value for key, value in values.items() if key != CLUSTER})
    except ValidationError as error:
        raise explain(error, Study) from None


def _blame(error: StudyError, document: Document, given: list[_Override]) -> str:
    """Return the error with the option or the line in front that brought it in."""
    try:
        _validated(document.values)
        file_is_wrong = False
    except StudyError as own:
        file_is_wrong = str(own) == str(error)
    if not given or file_is_wrong:
        return document.locate(error)
    for override in reversed(given):
        shared = min(len(override.path), len(error.path))
        if override.path == error.path:
            return f"{override.option}: {error.args[0]}"
        if override.path[:shared] == error.path[:shared]:
            return f"{override.option}: {error}"
    return f"{' '.join(override.option for override in given)}: {error}"


def _of_others(data: DatasetSpec) -> set[str]:
    """Return the names of what only other sources and kinds of data have."""
    options = set(all_options()) - set(data.source_type.options)
    augmentations = set(Augment.model_fields) - set(FOR_KIND[data.kind])
    return options | augmentations | {name for name, kind in ONLY_FOR.items() if kind != data.kind}


def _lines(part: BaseModel, values: Mapping[str, Any], left_out: set[str], depth: int = 0) -> Iterator[str]:
    """Yield `key: value  # description` for every field, the parts indented below their key."""
    for name, field in type(part).model_fields.items():
        if name in left_out:
            continue
        value = getattr(part, name)
        nested = isinstance(value, BaseModel)
        about = field.description or (type(value).__doc__ if nested else None) or ""
        entry = "  " * depth + (f"{name}:" if nested else f"{name}: {scalar(values[name])}")
        yield f"{entry:<34}  # {about.partition('.')[0] if nested else about}" if about else entry
        if nested:
            yield from _lines(value, values[name], left_out, depth + 1)


def scalar(value: object) -> str:
    """Return a value as YAML on one line, as `--set` takes it."""
    return yaml.safe_dump(value, default_flow_style=True, width=10_000).removesuffix("\n...\n").strip()
