"""The graph of an experiment's artifacts: every artifact is declared after its inputs."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from lib.pipeline.artifact import Artifact
from lib.pipeline.experiment import Experiment, depends_on_test


class Graph:
    """artifacts: by name, as in "features/mean/test", in the order in which they are declared.

    frozen: this run only reads them, as those of a first round.
    """

    def __init__(self, experiment: Experiment, frozen: bool = False) -> None:
        self.experiment, self.frozen = experiment, frozen
        self.artifacts: dict[str, Artifact] = {}

    def add(
        self,
        name: str,
        build: Callable[[Path], dict[str, Any] | None],
        *,
        settings: dict[str, Any] | None = None,
        inputs: Sequence[str] = (),
        files: dict[str, Artifact | Path] | None = None,
        **options: Any,
    ) -> Artifact:
        """Declare an artifact.

        build: `build(folder)` fills its folder. settings: what it depends on in the config.
        inputs: names of artifacts. files: files of the user by the name that the manifest gives
        them, or the artifacts that generate or unpack such files. options: other fields of
        `Artifact`.
        Raises KeyError for an input that is not declared yet.
        """
        trained_before = self.experiment.target is not None and not depends_on_test(name)
        self.artifacts[name] = Artifact(
            self.experiment.path(name),
            build,
            config=settings or {},
            inputs={**(files or {}), **{source: self.artifacts[source] for source in inputs}},
            frozen=self.frozen or trained_before,
            **options,
        )
        return self.artifacts[name]
