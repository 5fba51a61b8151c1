"""A predictor that stays loaded: what `--new` says of pictures, without starting anew.

    with LoadedPredictor(load_experiment("configs/mine.toml")) as predictor:
        table = predictor.predict({"a.jpg": Path("a.jpg").read_bytes()})

The functions of the stages answer, on a folder of temporary files. Networks, boosters and what the
labelled products are compared with are loaded at the first call and kept; look-ups that are large
are mapped from their files.
"""

import logging
import shutil
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import cached_property
from pathlib import Path, PurePosixPath
from types import TracebackType
from typing import TYPE_CHECKING, Self

import pyarrow as pa
import pyarrow.parquet as pq

from lib.errors import UserError
from lib.pipeline.artifact import Artifact
from lib.pipeline.experiment import Experiment
from lib.pipeline.predict_target import IMAGE_SUFFIXES, PredictTarget
from lib.serving.temporary import temporary_folder
from lib.stages.order import check_frozen, declare_all
from lib.stages.pages.similar import row_of
from lib.utils.kept import Results, forget, keeping

if TYPE_CHECKING:
    from lib.data.catalog import Catalog, Categories
    from lib.similarity.support import UsualDistances
    from lib.stages.blends.promise import LabelledSide


class LoadedPredictor:
    """Answers for pictures, each a product of its own. Safe for threads: one call at a time."""

    def __init__(self, experiment: Experiment, config: str = "") -> None:
        """experiment: a trained one; its target is ignored. config: its path, for messages.

        Raises UserError if something is not trained or stale, or if products have sets of classes.
        """
        if experiment.config.multi_label:
            raise UserError("clusters.multi_label: only products of one class each are served")
        self._lock, self._kept = threading.Lock(), Results()
        self._stack = ExitStack()
        temporary = self._stack.enter_context(temporary_folder())
        try:
            pictures, folder = temporary / "pictures", temporary / "artifacts"
            target = PredictTarget(pictures, "folders", "loaded", folder)
            self.experiment = replace(experiment, target=target)
            declared = declare_all(self.experiment)
            check_frozen(self.experiment, declared, config, ())
            self._steps = _steps(folder, [a for stage in declared.values() for a in stage])
            self._labelled, self._usual = self._load()
        except BaseException:
            self.close()
            raise

    def predict(self, pictures: Mapping[str, bytes]) -> pa.Table:
        """The rows of `--new FOLDER` for a folder of these files: those of predictions.parquet.

        pictures: the bytes of each file by its name, whose suffix is that of a picture. Sorted by
        name. Raises UserError as `--new` does.
        """
        from lib.stages.blends.predictions import predict_products

        def table() -> pa.Table:
            submit = self.experiment.path("submit")
            submit.mkdir()
            predict_products(self.experiment, submit, self._labelled)
            return pq.read_table(submit / "predictions.parquet")

        return self._answer(pictures, self._steps, table)

    def predict_each(self, pictures: Mapping[str, bytes]) -> pa.Table:
        """As `predict` of each picture alone, but all together: no picture tells of the others.

        Networks run in batches, so the last digits of a probability may differ.
        """
        from lib.stages.blends.predictions import predict_each

        # Which of them are near twins of each other says nothing of one alone.
        sets = self.experiment.path("extract/sets/test")
        return self._answer(
            pictures,
            [step for step in self._steps if step.path != sets],
            lambda: predict_each(self.experiment, self._labelled, self._usual),
        )

    @property
    def labelled(self) -> "Catalog":
        """The labelled products, of which the nearest are named."""
        return self._labelled.catalog

    @cached_property
    def categories(self) -> "Categories":
        """The classes."""
        from lib.data.catalog import read_categories

        return read_categories(self.experiment.path("extract/categories"))

    def row_of(self, product: str) -> int | None:
        """The row of a labelled product by its id; None for no such product."""
        return row_of(self.labelled, product)

    def warm_up(self) -> None:
        """Load what the first picture would wait for."""
        import cv2
        import numpy as np

        gray = cv2.imencode(".png", np.full((64, 64, 3), 128, np.uint8))[1].tobytes()
        self.predict_each({"gray.png": gray})

    def close(self) -> None:
        """Delete the temporary files."""
        self._stack.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _load(self) -> "tuple[LabelledSide, UsualDistances]":
        from lib.stages.blends.promise import read_labelled, usual_distances
        from lib.stages.blends.scores import score_part

        part = self.experiment.config.stack_part
        oof, locked = (score_part(self.experiment, name) for name in (part, "locked"))
        labelled = read_labelled(self.experiment, oof, locked)
        return labelled, usual_distances(self.experiment, labelled)

    def _answer(
        self, pictures: Mapping[str, bytes], steps: list[Artifact], table: Callable[[], pa.Table]
    ) -> pa.Table:
        """Build the steps from the pictures, and then the table."""
        _check_names(pictures)
        target = self.experiment.target
        assert target is not None
        assert target.folder is not None
        with self._lock, keeping(self._kept), _errors_alone():
            for folder in (target.path, target.folder):
                shutil.rmtree(folder, ignore_errors=True)
                folder.mkdir()
            forget(self._kept, str(target.folder))
            for name, data in pictures.items():
                path = target.path / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(data)
            for step in steps:
                step.path.mkdir(parents=True)
                step.build(step.path)
            return table()


@contextmanager
def _errors_alone() -> Iterator[None]:
    """What `--new` says once about its products would be said of every answer."""
    logger = logging.getLogger("lib")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)


def _steps(folder: Path, declared: list[Artifact]) -> list[Artifact]:
    """What is built of new products before their predictions are written, in order."""
    own = {artifact.path: artifact for artifact in declared if not artifact.frozen}
    ends = [path for path in own if path.relative_to(folder).parts[0] in ("scores", "extract")]
    needed: set[Path] = set()
    while ends:
        path = ends.pop()
        if path in own and path not in needed:
            needed.add(path)
            inputs = own[path].inputs.values()
            ends += [source.path for source in inputs if isinstance(source, Artifact)]
    return [artifact for path, artifact in own.items() if path in needed]


def _check_names(pictures: Mapping[str, bytes]) -> None:
    if not pictures:
        raise UserError("no pictures; give at least one")
    for name in pictures:
        path = PurePosixPath(name)
        if path.is_absolute() or ".." in path.parts or path.suffix.lower() not in IMAGE_SUFFIXES:
            raise UserError(
                f"{name!r}: not the name of a picture within a folder; it ends in"
                f" {' '.join(IMAGE_SUFFIXES)}"
            )
