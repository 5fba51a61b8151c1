"""The tables of a folder of scenes, in the columns of the official files of Open Images."""

import csv
from collections.abc import Iterable
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from lib.data.synthetic.scenes.annotation import SceneObject
from lib.data.synthetic.scenes.faults import Annotation, Fault

BOX_COLUMNS = (
    "ImageID",
    "Source",
    "LabelName",
    "Confidence",
    "XMin",
    "XMax",
    "YMin",
    "YMax",
    "IsOccluded",
    "IsTruncated",
    "IsGroupOf",
    "IsDepiction",
    "IsInside",
)
LABEL_COLUMNS = ("ImageID", "Source", "LabelName", "Confidence")
SUBJECT_COLUMNS = ("ImageID", "LabelName", "Background")
FAULT_COLUMNS = ("Kind", "ImageID", "LabelName", "Other", "XMin", "XMax", "YMin", "YMax")
BOX_SOURCE, LABEL_SOURCE = "composed", "verification"


class Tables:
    """Writers of all tables of one side of a folder, row by row.

    <side>-annotations-bbox.csv and <side>-annotations-human-imagelabels-boxable.csv are what the
    annotators wrote. No stage reads truth/<side>-annotations-bbox.csv, truth/<side>-labels.csv (the
    class of the subject, the picture of the background) and truth/<side>-faults.csv. The side
    "test" has truth alone.
    """

    def __init__(self, folder: Path, side: str) -> None:
        """Open all files and write their headers."""
        self._files = ExitStack()
        self._boxes: Any = None
        if side != "test":
            self._boxes = self._open(folder / f"{side}-annotations-bbox.csv", BOX_COLUMNS)
            self._labels = self._open(
                folder / f"{side}-annotations-human-imagelabels-boxable.csv", LABEL_COLUMNS
            )
            self._faults = self._open(folder / f"truth/{side}-faults.csv", FAULT_COLUMNS)
        true_columns = (*BOX_COLUMNS, "Picture")
        self._true_boxes = self._open(folder / f"truth/{side}-annotations-bbox.csv", true_columns)
        self._subjects = self._open(
            folder / f"truth/{side}-labels.csv", ("ImageID", "LabelName", "Background")
        )

    def _open(self, path: Path, columns: Iterable[str]) -> Any:
        file = self._files.enter_context(path.open("w", newline="", encoding="utf-8"))
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow(columns)
        return rows

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._files.close()

    def write(self, truth: list[SceneObject], background: str, annotation: Annotation) -> None:
        """Write the rows of an image; the first true object is its subject."""
        image = annotation.image
        self._true_boxes.writerows([*box_row(image, found), found.source] for found in truth)
        self._subjects.writerow([image, truth[0].label, background])
        if self._boxes is None:
            return
        self._boxes.writerows(box_row(image, found) for found in annotation.objects)
        self._labels.writerows(
            [image, LABEL_SOURCE, label, confidence] for label, confidence in annotation.labels
        )
        self.write_faults(annotation.faults)

    def write_faults(self, faults: Iterable[Fault]) -> None:
        """Write rows of planted faults."""
        self._faults.writerows(
            [f.kind, f.image, f.label, f.other, *(_edges(f.box) if f.box else [""] * 4)]
            for f in faults
        )


def box_row(image: str, found: SceneObject) -> list[Any]:
    """The row of an object in a table of boxes."""
    flags = [found.occluded, found.truncated, found.group, found.depiction, found.inside]
    assert found.box is not None
    return [image, BOX_SOURCE, found.label, 1, *_edges(found.box), *flags]


def _edges(box: tuple[float, float, float, float]) -> list[str]:
    return [f"{edge:.6f}" for edge in box]
