"""Stage 06: the report, from what the earlier stages left in the work folder.

    work/<name>/report    page.html, without the times and settings of a machine; label_issues.csv,
                          card.md
    work/<name>/submit    report.html, the whole page, and the other two; by `publish`

Out-of-fold rows say what to change; the locked part only reports.
"""

import contextlib
import json
import shutil
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lib.config.schema import network_names
from lib.pipeline.artifact import Artifact
from lib.pipeline.experiment import Experiment, catalog_inputs
from lib.pipeline.graph import Graph
from lib.pipeline.integrity import check_intact
from lib.pipeline.manifest import MANIFEST, read_manifest
from lib.runtime.workers import num_threads
from lib.stages.pages.card import card_of_run, manifest_of
from lib.stages.pages.new_products import NAME as NEW_PAGE
from lib.stages.pages.new_products import has_page

if TYPE_CHECKING:
    import numpy as np

    from lib.data.catalog import Catalog
    from lib.output.report.blocks import Section
    from lib.output.report.names import ClassNames
    from lib.output.report.part import PartPredictions
    from lib.output.report.pictures import Pictures

PAGE, REPORT, ISSUES, CARD = "page.html", "report.html", "label_issues.csv", "card.md"
MAX_ISSUES, MAX_PICTURES = 2000, 500  # in label_issues.csv: products by either reason, pictures
MAX_SIZES = 50_000  # images whose headers are read, where stage 01 has not done it


def has_report(experiment: Experiment) -> bool:
    """Whether a run ends with a report; with `--new` with another one (`pages.new_products`)."""
    return experiment.config.run.report and experiment.target is None


def declare_report(graph: Graph) -> Artifact:
    """The artifact of the report: it reads what every stage wrote."""
    experiment, config = graph.experiment, graph.experiment.config
    parts = (config.stack_part, "locked")
    return graph.add(
        "report",
        partial(write_report, experiment),
        settings={"submit": config.blend.submit},
        inputs=[
            *catalog_inputs("train"),
            *(["extract/sizes/train"] if experiment.needs_sizes else []),
            *(["extract/phash/train"] if config.features.use_phash else []),
            "extract/categories",
            "extract/splits",
            "extract/ids",
            "extract/nearest/train",
            *(f"predictions/{n}/{p}" for n in config.classifiers for p in parts),
            *(name for name in graph.artifacts if name.startswith(("cnn/", "stack/"))),
            *(f"features/candidates/{part}" for part in parts),
            *(n for n in graph.artifacts if n.startswith("scores/") and n.endswith("/locked")),
            "blend",
            "calibration",
            "submit",
        ],
        version=3,
    )


def write_report(experiment: Experiment, folder: Path) -> dict[str, Any]:
    """Write page.html, label_issues.csv and card.md; returns counts."""
    from lib.output.report.neighbors import SIDE
    from lib.output.report.page import Heading, render_page
    from lib.output.report.pictures import Pictures
    from lib.stages.read import catalog_of_part

    catalog = catalog_of_part(experiment, "train")
    threads = num_threads(experiment.config.run)
    with Pictures(catalog, threads) as pictures, Pictures(catalog, threads, SIDE) as small:
        sections = _sections(experiment, folder, catalog, pictures, small)
    labelled = f"{len(catalog.product_id):,} labelled products, {len(catalog.offset):,} images"
    page = render_page(Heading(experiment.config.name, labelled), sections)
    (folder / PAGE).write_text(page)
    (folder / CARD).write_text(card_of_run(experiment, catalog))
    return {"sections": len(sections), "bytes": len(page)}


def _sections(
    experiment: Experiment,
    folder: Path,
    catalog: "Catalog",
    pictures: "Pictures",
    small: "Pictures",
) -> "list[Section]":
    import numpy as np

    from lib.data.catalog import read_categories
    from lib.output.report.names import ClassNames
    from lib.output.report.neighbors import NUM_NEAREST, Neighborhood
    from lib.output.report.sections.candidates import importances_section, recall_section
    from lib.output.report.sections.catalog import catalog_section
    from lib.output.report.sections.classes import size_section, worst_section
    from lib.output.report.sections.confusions import confusion_section
    from lib.output.report.sections.gallery import mistakes_section
    from lib.output.report.sections.products import images_section, tree_section
    from lib.output.report.sections.scores import (
        headline_section,
        ladder_section,
        reliability_section,
    )
    from lib.output.report.sections.training import training_section
    from lib.pipeline.reading import read_json
    from lib.stages.blends.layers import layer_answers
    from lib.stages.read import ids_are_comparable, read_nearest_products

    config, submit = experiment.config, experiment.path("submit")
    categories = read_categories(experiment.path("extract/categories"))
    names, submitted = ClassNames(categories), config.blend.submit
    labelled = np.bincount(catalog.label[catalog.label >= 0], minlength=len(categories))
    oof, locked = (read_part(experiment, part) for part in (config.stack_part, "locked"))
    sizes, comparable = first_sizes(experiment, catalog), ids_are_comparable(experiment)
    nearest = read_nearest_products(experiment, "train", NUM_NEAREST)
    is_number = catalog.id_is_number() if comparable else None
    near = Neighborhood(nearest, catalog, names, small, is_number)

    def mistakes(part: "PartPredictions", name: str, key: str) -> "Section":
        answers = layer_answers(experiment, name)
        return mistakes_section(part, catalog, names, pictures, key, answers, near)

    scores, promise = read_json(submit / "scores.json"), read_json(submit / "promise.json")
    calibration = read_json(submit / "calibration.json")
    ladder = (submit / "ladder.txt").read_text()
    return [
        headline_section(scores, submitted, promise, calibration, ladder),
        ladder_section(scores, submitted),
        reliability_section(locked, calibration),
        training_section(histories(experiment), config.segmenters),
        size_section(oof, labelled, locked),
        worst_section(oof, labelled, names),
        confusion_section(oof, names, pictures),
        mistakes(oof, config.stack_part, "mistakes"),
        mistakes(locked, "locked", "locked-mistakes"),
        *_label_sections(experiment, folder, oof, catalog, names, pictures),
        images_section([oof, locked], catalog.image_count, sizes),
        tree_section([oof, locked], categories),
        recall_section(candidate_facts(experiment)),
        importances_section(importances(experiment)),
        catalog_section(catalog, labelled, sizes, comparable),
    ]


def read_part(experiment: Experiment, part: str) -> "PartPredictions":
    """The calibrated predictions of the submitted blend for a labelled part."""
    from lib.evaluation.abstention import AbstentionRule
    from lib.output.report.blocks import LOCKED, OUT_OF_FOLD
    from lib.output.report.part import predictions_of_part
    from lib.stages.blends.scores import score_part
    from lib.stages.read import catalog_of_part

    rows, score = score_part(experiment, part)
    rule = AbstentionRule.load(experiment.path("calibration"))
    catalog = catalog_of_part(experiment, part)
    return predictions_of_part(
        LOCKED if part == "locked" else OUT_OF_FOLD,
        rows.product,
        rows.class_id,
        rule.probability(score, rows.product),
        catalog.label,
        catalog.group,
    )


def _label_sections(
    experiment: Experiment,
    folder: Path,
    oof: "PartPredictions",
    catalog: "Catalog",
    names: "ClassNames",
    pictures: "Pictures",
) -> "list[Section]":
    """Likely wrong labels and repeated pictures; writes label_issues.csv."""
    from lib.data.catalog import read_splits
    from lib.output.report.confident_learning import find_label_issues
    from lib.output.report.label_issues import issues_of, issues_of_pictures, write_issues
    from lib.output.report.repeated_pictures import repeated_images
    from lib.output.report.sections.labels import labels_section, repeated_section
    from lib.pipeline.reading import load_array

    found = find_label_issues(oof, len(names))
    hashes = {"equal bytes": catalog.md5}
    if experiment.config.features.use_phash:
        path = experiment.path("extract/phash/train") / "phash.npy"
        hashes["perceptual hash"] = load_array(path)
    repeated = {
        name: repeated_images(catalog, values, MAX_PICTURES) for name, values in hashes.items()
    }
    issues = issues_of(oof, found, MAX_ISSUES)
    num_listed = len(issues)
    # A perceptual hash also finds the pictures of equal bytes.
    issues += issues_of_pictures(list(repeated.values())[-1].pictures, MAX_ISSUES)
    splits = read_splits(experiment.path("extract/splits"))
    write_issues(folder / ISSUES, issues, catalog, splits, names, pictures)
    return [
        labels_section(oof, found, num_listed, catalog, names, pictures),
        repeated_section(repeated, catalog, names, pictures),
    ]


def histories(experiment: Experiment) -> dict[str, dict[str, list[dict[str, Any]]]]:
    """The lines of history.jsonl, by model and network."""
    from lib.pipeline.reading import reading

    histories: dict[str, dict[str, list[dict[str, Any]]]] = {}
    for name, model in experiment.config.models.items():
        for network in network_names(model):
            path = experiment.path(f"cnn/{name}/{network}") / "history.jsonl"
            with reading(path):
                lines = [json.loads(line) for line in path.read_text().splitlines()]
            histories.setdefault(name, {})[network] = lines
    return histories


def candidate_facts(experiment: Experiment) -> dict[str, dict[str, float]]:
    """What the manifests of the candidate rows say, by the origin of the part."""
    from lib.output.report.blocks import LOCKED, OUT_OF_FOLD

    parts = {OUT_OF_FOLD: experiment.config.stack_part, LOCKED: "locked"}
    return {
        origin: manifest_of(experiment, f"features/candidates/{part}")["facts"]
        for origin, part in parts.items()
    }


def importances(experiment: Experiment) -> dict[str, dict[str, float]]:
    """importances.json of every booster, as of "mean/l2/xgboost"."""
    from lib.pipeline.reading import read_json
    from lib.stages.read import all_boosters

    names = ["/".join(member) for member in all_boosters(experiment)]
    return {
        name: read_json(experiment.path(f"stack/{name}") / "importances.json") for name in names
    }


def first_sizes(experiment: Experiment, catalog: "Catalog") -> "np.ndarray":
    """Height and width of the first image of each product: int32 [P, 2], (0, 0) if not known.

    Where stage 01 did not write them, those of a sample of the products are read from headers.
    """
    import numpy as np

    from lib.data.aspect.sizes import FILE, read_sizes
    from lib.pipeline.reading import load_array

    sizes = np.zeros((len(catalog.product_id), 2), np.int32)
    products = np.flatnonzero(catalog.image_count > 0)
    if experiment.needs_sizes:
        of_image = load_array(experiment.path("extract/sizes/train") / FILE)
        sizes[products] = of_image[catalog.first_image[products]]
        return sizes
    if len(products) > MAX_SIZES:
        products = np.sort(np.random.default_rng(0).choice(products, MAX_SIZES, replace=False))
    rows = catalog.first_image[products]
    sizes[products] = read_sizes(catalog, num_threads(experiment.config.run), rows)
    return sizes


def publish(experiment: Experiment) -> None:
    """Write submit/report.html: the page of the artifact, and the sections of this run alone.

    With `--new`, the page of the new products as it is.

    Settings of the machine and times make no artifact stale, so that they are in none. Raises
    UserError for a damaged page.
    """
    is_new = has_page(experiment)
    if not is_new and not has_report(experiment):
        return
    source, submit = experiment.path(NEW_PAGE if is_new else "report"), experiment.path("submit")
    check_intact(source)
    target = submit / REPORT
    if target.exists() and target.stat().st_mtime_ns > (source / PAGE).stat().st_mtime_ns:
        return
    from lib.output.report.page import complete
    from lib.output.report.sections.run import costs_section, settings_section, stage_costs
    from lib.utils.files import atomic_write, file_lock

    # Where another run writes at this moment, it writes the same.
    lock = file_lock(submit.parent / f".{REPORT}.lock")
    with contextlib.suppress(BlockingIOError), lock:
        for name in (ISSUES, CARD):
            if not (source / name).exists():  # with `--new`, or of sets of classes
                continue
            with atomic_write(submit / name) as path:
                shutil.copyfile(source / name, path)
        with atomic_write(target) as path:
            page = (source / PAGE).read_text()
            if not is_new:
                later = [costs_section(stage_costs(manifests(experiment)))]
                page = complete(page, [*later, settings_section(experiment.config)])
            path.write_text(page)


def manifests(experiment: Experiment) -> Iterator[tuple[str, dict[str, Any]]]:
    """The finished artifacts of the experiment with their manifests, without those of `--new`."""
    for path in sorted(experiment.folder.rglob(MANIFEST)):
        name = str(path.parent.relative_to(experiment.folder))
        manifest = read_manifest(path.parent)
        if manifest is not None and not name.startswith("new/") and ".partial" not in name:
            yield name, manifest
