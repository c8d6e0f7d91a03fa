"""What is told of a study's data before it trains: the report on them, and a picture of what augmentation does."""

import tempfile
from collections.abc import Callable
from pathlib import Path

from rich.console import Console

from components.data import report
from components.data.preparation import prepare, read_checked
from components.errors import UsageError
from components.study.study import Study
from pipeline.commands.quiet import native_libraries_silent


def report_on(study: Study, console: Console, output: Path | None, say: Callable[[str], None]) -> None:
    """Print the report on a study's data; with a folder as `output` write it there, too, and `say` so.

    Raises:
        AssayError: when the data can't be read, or the report not be written; at last where the data stop a study.
    """
    from rich.markdown import Markdown

    from components.data.report.markdown import markdown

    with tempfile.TemporaryDirectory(prefix="assay-") as scratch:
        inspected = report.inspect(study.data, *read_checked(study, Path(scratch)))
    console.print(Markdown(markdown(inspected)))
    if output:
        try:
            report.write(inspected, output)
        except OSError as error:
            raise UsageError(f"can't write {error.filename}: {error.strerror}") from None
        say(f"wrote data.md, data.json and data.png to {output}")
    report.refuse(inspected)


def draw_preview(name: str, study: Study, output: Path) -> None:
    """Draw what the recipe's augmentation does to some images or texts, as a .png file; errors call the study `name`.

    Raises:
        AssayError: where there is nothing to draw, or the file can't be written.
    """
    if study.data.kind == "table":
        raise UsageError(f"{name}: only augmented images and texts can be drawn, and the data is a table")
    if not study.recipe.augment.on():
        hint = "rotate=20" if study.data.kind == "image" else "swap_words=0.2"
        raise UsageError(f"{name}: the recipe augments nothing; try --set recipe.augment.{hint}")
    if output.suffix.lower() != ".png":
        raise UsageError(f"-o {output}: expected the name of a .png file")
    if not output.parent.is_dir():
        raise UsageError(f"can't write {output}: there is no folder {output.parent}")
    with native_libraries_silent():
        from components.training import augmentation_preview as drawing
    from components.data.scaling import fit

    with tempfile.TemporaryDirectory() as folder:
        prepared = prepare(study.of_seeds(1), folder)
        encoder = fit(prepared, 0, {"recipe": study.recipe})["recipe"]
        try:
            drawing.draw(prepared, encoder, study.recipe.augment, output)
        except OSError as error:
            raise UsageError(f"can't write {output}: {error.strerror}") from None
