"""Errors that are meant for people: one message, no traceback."""


class AssayError(Exception):
    """Something failed for a reason that the user can mend; `str(error)` is all that is shown."""

    exit_code = 1


class UsageError(AssayError):
    """The command, the study file or an option is wrong."""

    exit_code = 2


class StudyError(UsageError):
    """A value of the study is wrong.

    Attributes:
        path: where in the study, as keys from its top: `("recipe", "model", "dropout")`.
    """

    def __init__(self, path: tuple[str | int, ...], message: str):
        """Keep the path, so that whoever read the file can name the line."""
        super().__init__(message)
        self.path = path

    def __str__(self) -> str:
        """Return `place: message`."""
        place = ".".join(str(part) for part in self.path)
        return f"{place}: {self.args[0]}" if place else str(self.args[0])
