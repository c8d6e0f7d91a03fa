"""What a runner is: it starts a study, tells what happens, and stops it. Another one is a file here and a row below."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from components.runtime.events import Event
    from components.study.study import Study
    from pipeline.runners.run_folder import OpenRun


class Runner(Protocol):
    """Where a study runs: processes or containers of this machine, or a cluster (`pipeline.kubeflow.runner`)."""

    def start(self, study: "Study") -> None:
        """Begin to run the study, without waiting for it."""
        ...

    def events(self) -> "Iterator[list[Event]]":
        """Yield what is new, again and again, until the run has ended; an empty list where nothing is.

        Raises:
            AssayError: when it has ended badly.
        """
        ...

    def stop(self) -> None:
        """End whatever still runs; of a run that has ended, do nothing."""
        ...


@dataclass(frozen=True)
class RunnerOptions:
    """What users say of where a study runs, see `pipeline.runners.docker.find_image`; `say` is told what takes long."""

    image: str | None
    gpu: bool
    say: Callable[[str], None]


RunnerMaker = Callable[["OpenRun"], Runner]


def _local(options: RunnerOptions) -> RunnerMaker:
    from pipeline.runners.process import ProcessRunner

    return ProcessRunner


def _docker(options: RunnerOptions) -> RunnerMaker:
    from pipeline.runners.docker import DockerRunner, find_image

    image = find_image(options.image, options.gpu, options.say)
    return lambda run: DockerRunner(run, image, options.gpu)


# By the name of `--on`: checks what the runner needs, and returns what makes one for a run's folder, where it leaves
# verdict.json and decision.json.
RUNNERS: dict[str, Callable[[RunnerOptions], RunnerMaker]] = {"local": _local, "docker": _docker}
