"""`06_submit.py --report`: the report after any stage, with what there is

work/<name>/early_report.html   what the finished stages show, and which script brings the rest

Where stage 06 is complete, it is the report itself, also with run.report = false.
"""

import argparse
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from lib.config.schema import network_names
from lib.errors import UserError
from lib.pipeline.artifact import Artifact, ensure, status_all
from lib.pipeline.experiment import Experiment, catalog_inputs
from lib.stages import report
from lib.stages.order import declare_all
from lib.utils.files import atomic_write

if TYPE_CHECKING:
    from lib.output.report.blocks import Section

PAGE = "early_report.html"
LATER = (
    *("Accuracy and the ladder", "Reliability", "Classes: sizes, the worst, confusions"),
    *("Confident mistakes", "Likely wrong labels, repeated pictures", "Images and categories"),
)


class Part(NamedTuple):
    """A section of the page: what it needs, the script that builds that, and how it is made."""

    title: str
    needs: list[str]
    script: str
    make: Callable[[Experiment], "Section"]


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the option of stage 06."""
    parser.add_argument(
        "--report",
        action="store_true",
        help="write the report with what the finished stages have, and run nothing else",
    )


def write_early_report(experiment: Experiment) -> list[str]:
    """Write the page; returns lines with its path. Raises UserError with `--new`."""
    if experiment.target is not None:
        raise UserError("--report is about a run; with --new, stage 06 itself writes the page")
    config = experiment.config
    experiment = replace(experiment, config=replace(config, run=replace(config.run, report=True)))
    artifacts = [a for stage in declare_all(experiment).values() for a in stage]
    states = status_all([replace(artifact, frozen=True) for artifact in artifacts])
    fresh = {path for path, state in states.items() if state.fresh}
    whole = next(a for a in artifacts if a.path == experiment.path("report"))
    if all(s.path in fresh for s in whole.inputs.values() if isinstance(s, Artifact)):
        ensure(whole, rebuild=True)
        report.publish(experiment)
        return [f"report: {experiment.path('submit') / report.REPORT}"]
    path = experiment.folder / PAGE
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(path) as temporary:
        temporary.write_text(_page(experiment, fresh))
    return [f"report of what is finished: {path}"]


def _page(experiment: Experiment, fresh: set[Path]) -> str:
    from lib.output.report.blocks import Section, Table
    from lib.output.report.page import Heading, complete, render_page
    from lib.output.report.sections.run import costs_section, settings_section, stage_costs
    from lib.output.report.sections.training import training_section

    sections, missing = [], [(title, "06_submit.py") for title in LATER]
    curves = _histories(experiment, fresh)
    if curves:
        sections.append(training_section(curves, experiment.config.segmenters))
    else:
        missing.append(("Learning curves", "02_train_cnn.py"))
    for part in _parts(experiment):
        if {experiment.path(name) for name in part.needs} <= fresh:
            sections.append(part.make(experiment))
        else:
            missing.append((part.title, part.script))
    lead = "Sections of the report whose stages are not finished, or not with these settings."
    table = Table("What is missing", ["section", "script"], sorted(missing), "manifests", 2)
    sections.append(Section("missing", "Not finished", lead, [table]))
    costs = costs_section(stage_costs(report.manifests(experiment)))
    page = render_page(Heading(experiment.config.name, "what is finished so far"), sections)
    return complete(page, [costs, settings_section(experiment.config)])


def _parts(experiment: Experiment) -> list[Part]:
    """The sections that need no blend; sets of classes have other ones."""
    if experiment.config.multi_label:
        return []
    config = experiment.config
    sizes = ["extract/sizes/train"] if experiment.needs_sizes else []
    catalog = [*catalog_inputs("train"), *sizes, "extract/categories", "extract/ids"]
    catalog.append("extract/splits")
    candidates = [f"features/candidates/{part}" for part in (config.stack_part, "locked")]
    stack = [
        f"stack/{source}/{layer}/{booster}"
        for source in config.sources
        for layer, boosters in config.layers(source).items()
        for booster in boosters
    ]
    return [
        Part("The catalog", catalog, "01_extract.py", _catalog),
        Part("Candidate recall", candidates, "04_features.py", _recall),
        Part("Importances", stack, "05_stack.py", _importances),
    ]


def _catalog(experiment: Experiment) -> "Section":
    import numpy as np

    from lib.output.report.sections.catalog import catalog_section
    from lib.stages.read import catalog_of_part, ids_are_comparable, num_classes

    catalog = catalog_of_part(experiment, "train")
    labelled = np.bincount(catalog.label[catalog.label >= 0], minlength=num_classes(experiment))
    sizes = report.first_sizes(experiment, catalog)
    return catalog_section(catalog, labelled, sizes, ids_are_comparable(experiment))


def _recall(experiment: Experiment) -> "Section":
    from lib.output.report.sections.candidates import recall_section

    return recall_section(report.candidate_facts(experiment))


def _importances(experiment: Experiment) -> "Section":
    from lib.output.report.sections.candidates import importances_section

    return importances_section(report.importances(experiment))


def _histories(
    experiment: Experiment, fresh: set[Path]
) -> dict[str, dict[str, list[dict[str, Any]]]]:
    """The epochs of every network so far, also of those that are still trained."""
    from lib.pipeline.reading import reading

    curves: dict[str, dict[str, list[dict[str, Any]]]] = {}
    for name, model in experiment.config.models.items():
        for network in network_names(model):
            folder = experiment.path(f"cnn/{name}/{network}")
            source = folder if folder in fresh else folder.with_name(f"{network}.partial")
            path = source / "history.jsonl"
            if not path.exists():
                continue
            with reading(path):
                lines = [json.loads(line) for line in path.read_text().splitlines()]
            if lines:
                curves.setdefault(name, {})[network] = lines
    return curves
