"""Likely wrong labels as a CSV file, for a person and for Label Studio.

label_issues.csv    a row for each product and reason, the surest first
product             the source's own id
part                fit, holdout or locked
reason              "confident learning", or "same picture, other label"
label, label_name   the class in the catalog, and its path
suggested, suggested_name       the class that it may be; empty if there is no suggestion
prob_label, prob_suggested      out-of-fold probabilities; empty for repeated pictures
image               a small JPEG of the first picture as a data URI, which Label Studio shows
"""

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from lib.data.catalog import PARTS, Catalog, Splits
from lib.output.report.confident_learning import LabelIssues
from lib.output.report.names import ClassNames
from lib.output.report.part import PartPredictions
from lib.output.report.pictures import Pictures
from lib.output.report.repeated_pictures import RepeatedPicture
from lib.pipeline.reading import reading

COLUMNS = (
    *("product", "part", "reason", "label", "label_name", "suggested", "suggested_name"),
    *("prob_label", "prob_suggested", "image"),
)
MAX_FIELD = 1 << 24  # characters of an image
MAX_UNCLEAR = 4  # products of a picture that no class has most of
LEARNED, REPEATED = "confident learning", "same picture, other label"


class Issue(NamedTuple):
    """A product whose label may be wrong; suggested: -1 for no suggestion; probabilities: NaN."""

    product: int
    reason: str
    label: int
    suggested: int
    prob_label: float = float("nan")
    prob_suggested: float = float("nan")


def issues_of(part: PartPredictions, found: LabelIssues, most: int) -> list[Issue]:
    """The first issues of confident learning."""
    own = part.own_probability()
    return [
        Issue(int(part.product[i]), LEARNED, int(part.label[i]), int(c), float(own[i]), float(p))
        for i, c, p in zip(
            found.position[:most].tolist(),
            found.suggested[:most].tolist(),
            found.probability[:most].tolist(),
            strict=True,
        )
    ]


def issues_of_pictures(pictures: Sequence[RepeatedPicture], most: int) -> list[Issue]:
    """The first products of repeated pictures whose label is not that of most of them.

    Where many products share a picture and no class has most of them, it is a logo or a
    placeholder: it says nothing of their labels.
    """
    issues: dict[int, Issue] = {}
    for picture in pictures:
        if picture.majority < 0 and len(picture.products) > MAX_UNCLEAR:
            continue
        for product, label in zip(picture.products.tolist(), picture.label.tolist(), strict=True):
            if label != picture.majority:
                issues[product] = Issue(product, REPEATED, label, picture.majority)
    return list(issues.values())[:most]


def write_issues(
    path: Path,
    issues: Sequence[Issue],
    catalog: Catalog,
    splits: Splits,
    names: ClassNames,
    pictures: Pictures,
) -> None:
    """Write `label_issues.csv`."""
    part_names = {number: name for name, number in PARTS.items()}
    images = pictures.of_products([issue.product for issue in issues], 1)
    with path.open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow(COLUMNS)
        for issue, uris in zip(issues, images, strict=True):
            suggested = ("", "")
            if issue.suggested >= 0:
                suggested = names.keys[issue.suggested], names.paths[issue.suggested]
            rows.writerow(
                [
                    catalog.key(issue.product),
                    part_names[int(splits.part[issue.product])],
                    issue.reason,
                    names.keys[issue.label],
                    names.paths[issue.label],
                    *suggested,
                    _digits(issue.prob_label),
                    _digits(issue.prob_suggested),
                    *(uris or [""]),
                ]
            )


def read_issues(path: Path) -> list[dict[str, str]]:
    """The rows of `label_issues.csv`, without their images."""
    csv.field_size_limit(MAX_FIELD)
    with reading(path), path.open(newline="", encoding="utf-8") as file:
        return [{name: row[name] for name in COLUMNS[:-1]} for row in csv.DictReader(file)]


def _digits(value: float) -> str:
    return "" if np.isnan(value) else f"{value:.6f}"
