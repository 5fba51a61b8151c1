"""`./run_all.sh CONFIG --review --label-issues`: people decide labels that are likely wrong

work/<name>/corrections/
    answers.sqlite     every answer, from the moment it is given
    corrections.csv    the right class of each product whose label is wrong: `data.corrections`

The products are those of `label_issues.csv` of the report. Files of the user are not changed.
"""

import csv
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from lib.errors import UserError
from lib.pipeline.experiment import Experiment
from lib.stages.report import ISSUES, read_part
from lib.stages.review.page import NEXT, finished, move_into_place, open_log, serve

if TYPE_CHECKING:
    import numpy as np

    from lib.labelling.review.log import ReviewLog
    from lib.labelling.review.task import ReviewTask
    from lib.output.report.names import ClassNames
    from lib.output.report.part import TopClass

FOLDER, FILE = "corrections", "corrections.csv"


def review_label_issues(
    experiment: Experiment, only_export: bool, num_people: int, port: int
) -> list[str]:
    """Serve the page until Ctrl-C or SIGTERM, then write the corrections; returns lines to print.

    Raises UserError where the run is not complete or has no report, the pictures are gone, or
    another review of labels is open.
    """
    if experiment.config.multi_label:
        raise UserError("--label-issues is for products of one class each")
    if not experiment.config.run.report:
        raise UserError("--label-issues needs the report, which finds them; set run.report = true")
    report = finished(experiment, "report")
    with open_log(experiment.folder / FOLDER) as log:
        if not only_export:
            serve(read_task(experiment, report.path / ISSUES), log, num_people, port)
        return export_corrections(experiment, log)


def read_task(experiment: Experiment, path: Path) -> "ReviewTask":
    """The products of `label_issues.csv`, each once, in their order."""
    import numpy as np

    from lib.data.corrections import find_products
    from lib.labelling.review.task import make_label_task
    from lib.output.predictions import NUM_NEAR
    from lib.output.report.label_issues import read_issues
    from lib.stages.read import catalog_of_part, read_nearest_products

    catalog, names = catalog_of_part(experiment, "train"), _class_names(experiment)
    if not catalog.path.exists():
        raise UserError(f"{catalog.path} is gone, and with it the pictures of the products")
    issues: dict[str, dict[str, str]] = {}
    for issue in read_issues(path):
        issues.setdefault(issue["product"], issue)
    listed = list(issues.values())
    class_id = {key: number for number, key in enumerate(names.keys)}
    products = find_products(catalog, [row["product"] for row in listed])
    return make_label_task(
        catalog,
        products,
        [f"{row['reason']} ({row['part']})" for row in listed],
        np.array([class_id.get(row["suggested"], -1) for row in listed], np.int64),
        _top_classes(experiment, products),
        read_nearest_products(experiment, "train", NUM_NEAR),
        names,
    )


def _top_classes(experiment: Experiment, products: "np.ndarray") -> "list[list[TopClass]]":
    """The most probable classes of labelled products; none for a part without scores."""
    import numpy as np

    from lib.labelling.review.task import NUM_CHOICES

    tops: dict[int, list[TopClass]] = {}
    for name in (experiment.config.stack_part, "locked"):
        part = read_part(experiment, name)
        index = np.flatnonzero(np.isin(part.product, products))
        found = part.top_classes(index, NUM_CHOICES)
        tops |= dict(zip(part.product[index].tolist(), found, strict=True))
    return [tops.get(product, []) for product in products.tolist()]


def _class_names(experiment: Experiment) -> "ClassNames":
    from lib.data.catalog import read_categories
    from lib.output.report.names import ClassNames

    return ClassNames(read_categories(experiment.path("extract/categories")))


def export_corrections(experiment: Experiment, log: "ReviewLog") -> list[str]:
    """Write corrections.csv: the labels that are corrected already, and the answers over them.

    Returns lines to print. An answer that is the label of the original withdraws a correction.
    """
    import numpy as np

    from lib.data.corrections import find_products, read_given_labels
    from lib.labelling.review.log import CLASS, decisions
    from lib.stages.read import catalog_of_part

    catalog, names = catalog_of_part(experiment, "train"), _class_names(experiment)
    given = read_given_labels(experiment.path("extract/train"))
    class_id = {key: number for number, key in enumerate(names.keys)}
    answers = list(decisions(log.answers()).values())
    rows = find_products(catalog, [answer.product for answer in answers])
    label, kept, unknown = catalog.label.copy(), 0, 0
    for row, answer in zip(rows.tolist(), answers, strict=True):
        if answer.kind != CLASS:
            continue
        chosen = class_id.get(answer.class_key or "")
        if row < 0 or chosen is None:
            unknown += 1
            continue
        label[row] = chosen
        kept += int(chosen == given[row])
    changed = np.flatnonzero(label != given).tolist()
    folder = experiment.folder / FOLDER
    temporary = folder / NEXT
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    with (temporary / FILE).open("w", newline="", encoding="utf-8") as file:
        lines = csv.writer(file, lineterminator="\n")
        lines.writerow(("product", "class", "name", "given", "given_name"))
        for row in changed:
            classes = [n for c in (label[row], given[row]) for n in (names.keys[c], names.paths[c])]
            lines.writerow((catalog.key(row), *classes))
    move_into_place(temporary, folder)
    return _summary(experiment, changed, kept, unknown)


def _summary(experiment: Experiment, changed: list[int], kept: int, unknown: int) -> list[str]:
    from lib.data.catalog import LOCKED, read_splits

    part = read_splits(experiment.path("extract/splits")).part
    locked = sum(int(part[row]) == LOCKED for row in changed)
    path = (experiment.folder / FOLDER / FILE).absolute()
    lines = [
        f"{len(changed):,} labels are corrected, {kept:,} are right as they are: {path}",
        f"to use it, set data.corrections, as in --set data.corrections={path} --rebuild",
    ]
    if locked:
        lines.append(f"{locked:,} of them are of locked products: these change what is scored")
    if unknown:
        lines.append(f"{unknown:,} answers are to products or classes that are no longer there")
    return lines
