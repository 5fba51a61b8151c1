"""The structure of lib: which way imports go, sizes, docstrings, and a test for every module."""

import ast
import re
from collections.abc import Iterable, Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

from tests.conftest import ROOT

# Packages and modules of lib, lowest first: each may import itself and those before it.
LAYERS = (
    "utils",
    "errors",
    "config",
    "runtime",
    "pipeline",
    "data",
    "models",
    "training",
    "inference",
    "detection",
    "similarity",
    "features",
    "stacking",
    "evaluation",
    "output",
    "labelling",
    "stages",
    "serving",
    "planning",
    "cli",
)
MAX_MODULES, MAX_LINES = 13, 350  # of a folder, of a module

# Modules without a test file at the mirrored place, and the file that covers each.
COVERED_BY = {
    "lib.config.__main__": "tests/config/test_main.py",
    "lib.config.clusters": "tests/config/test_extremes.py",
    "lib.config.data": "tests/config/test_extremes.py",
    "lib.config.inputs.fusion": "tests/config/test_extremes.py",
    "lib.config.inputs.mosaic": "tests/config/test_schema.py",
    "lib.config.inputs.ocr": "tests/config/inputs/test_check_texts.py",
    "lib.config.inputs.segmentation": "tests/config/test_extremes.py",
    "lib.config.inputs.text": "tests/config/test_extremes.py",
    "lib.config.model": "tests/config/test_schema.py",
    "lib.data.openimages.blocks": "tests/data/openimages/test_tables.py",
    "lib.data.sources.webdataset.tar_kernels": "tests/data/sources/webdataset/test_tar_file.py",
    "lib.data.sources.parquet.texts": "tests/data/sources/parquet/test_listing.py",
    "lib.data.sources.parquet.unpack": "tests/data/sources/parquet/test_listing.py",
    "lib.data.texts.tables": "tests/data/texts/test_join.py",
    "lib.config.scenes": "tests/config/test_extremes.py",
    "lib.errors": "tests/test_cli.py",
    "lib.stacking.fold_mean": "tests/stacking/test_oof.py",
    "lib.features.hashes.feature_kernels": "tests/features/hashes/test_hash_features.py",
    "lib.stages.attributes.tables": "tests/stages/attributes/test_features.py",
    "lib.data.texts.matching": "tests/data/texts/test_join.py",
    "lib.stages.cascade.boxes": "tests/stages/test_cascade.py",
    "lib.stages.cascade.files": "tests/stages/test_cascade.py",
    "lib.stages.cascade.networks": "tests/stages/test_cascade.py",
    "lib.stages.cascade.scores": "tests/stages/test_cascade.py",
    "lib.labelling.database": "tests/labelling/test_store.py",
    "lib.labelling.server": "tests/labelling/test_app.py",
    "lib.planning.__main__": "tests/planning/test_launch.py",
    "lib.runtime.exits": "tests/test_cli.py",
    "lib.serving.app": "tests/stages/test_new_products.py",
    "lib.serving.command": "tests/stages/test_new_products.py",
    "lib.serving.predictor": "tests/stages/test_new_products.py",
    "lib.serving.server": "tests/stages/test_new_products.py",
    "lib.stages.extract": "tests/stages/test_sources.py",
    "lib.stages.features": "tests/stages/test_runs.py",
    "lib.stages.fusion": "tests/stages/test_second_round.py",
    "lib.stages.blends.ladder_rows": "tests/stages/test_runs.py",
    "lib.stages.blends.layers": "tests/stages/test_runs.py",
    "lib.stages.blends.predictions": "tests/stages/test_new_products.py",
    "lib.stages.blends.promise": "tests/stages/test_new_products.py",
    "lib.output.report.blocks": "tests/output/report/test_page.py",
    "lib.stages.pages.card": "tests/stages/test_runs.py",
    "lib.stages.pages.early_report": "tests/stages/test_runs.py",
    "lib.stages.pages.label_sets": "tests/stages/openimages/test_label_sets.py",
    "lib.stages.pages.new_products": "tests/stages/test_new_products.py",
    "lib.stages.pages.similar": "tests/stages/test_new_products.py",
    "lib.stages.predict": "tests/stages/test_runs.py",
    "lib.stages.rehearsal.draw": "tests/stages/rehearsal/test_run.py",
    "lib.stages.report": "tests/stages/test_runs.py",
    "lib.stages.pseudo_label": "tests/stages/test_second_round.py",
    "lib.stages.review.labels": "tests/stages/test_train.py",
    "lib.stages.review.label_issues": "tests/stages/test_runs.py",
    "lib.stages.review.page": "tests/stages/test_new_products.py",
    "lib.stages.review.next_round": "tests/stages/test_new_products.py",
    "lib.stages.review.run": "tests/stages/test_new_products.py",
    "lib.stages.review.warm_start": "tests/stages/test_train.py",
    "lib.stages.scoring": "tests/stages/test_runs.py",
    "lib.stages.texts.ocr": "tests/stages/test_sources.py",
    "lib.stages.texts.tables": "tests/stages/texts/test_models.py",
    "lib.stages.stack": "tests/stages/test_runs.py",
    "lib.stages.submit": "tests/stages/test_new_products.py",
}


def modules() -> dict[str, Path]:
    """Every module of lib by its dotted name."""
    paths = sorted((ROOT / "lib").rglob("*.py"))
    names = (path.relative_to(ROOT).with_suffix("").as_posix().replace("/", ".") for path in paths)
    return {name.removesuffix(".__init__"): path for name, path in zip(names, paths, strict=True)}


MODULES = modules()


def runtime_nodes(tree: ast.AST) -> Iterator[ast.AST]:
    """All nodes of a module except those of `if TYPE_CHECKING:`, which never run."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
            continue
        yield node
        yield from runtime_nodes(node)


def imported_names(path: Path) -> Iterator[str]:
    """Dotted names that a module imports, also inside its functions."""
    for node in runtime_nodes(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            assert node.module is not None
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def module_of(name: str) -> str | None:
    """The module of lib that an imported name belongs to."""
    while name and name not in MODULES:
        name = name.rpartition(".")[0]
    return name or None


def imports() -> dict[str, set[str]]:
    """The modules of lib that every module of lib imports."""
    return {
        module: {target for name in imported_names(path) if (target := module_of(name))}
        - {module, "lib"}
        for module, path in MODULES.items()
    }


def check(violations: list[str]) -> None:
    """Fail with all violations, one a line."""
    assert not violations, "\n" + "\n".join(violations)


def test_modules_import_each_other_in_no_circle():
    try:
        TopologicalSorter(imports()).prepare()
    except CycleError as error:
        pytest.fail(" -> ".join(error.args[1]))


def test_packages_import_one_way():
    layer = {name: position for position, name in enumerate(LAYERS)}
    edges = [
        (module, target)
        for module, targets in imports().items()
        for target in sorted(targets)
        if module != "lib"
    ]
    check(
        [
            f"{module} imports {target}"
            for module, target in edges
            if layer[module.split(".")[1]] < layer[target.split(".")[1]]
        ]
    )


def test_every_package_has_its_layer():
    assert {module.split(".")[1] for module in MODULES if module != "lib"} == set(LAYERS)


def test_no_folder_has_too_many_modules():
    counts: dict[Path, int] = {}
    for path in MODULES.values():
        if path.name != "__init__.py":
            counts[path.parent] = counts.get(path.parent, 0) + 1
    check(
        [
            f"{folder.relative_to(ROOT)} has {count} modules; at most {MAX_MODULES}"
            for folder, count in counts.items()
            if count > MAX_MODULES
        ]
    )


def test_no_module_is_too_long():
    lengths = {name: len(path.read_text().splitlines()) for name, path in MODULES.items()}
    check(
        [
            f"{name} has {length} lines; at most {MAX_LINES}"
            for name, length in lengths.items()
            if length > MAX_LINES
        ]
    )


def mirrored_test(path: Path) -> Path:
    """`lib/a/b.py` is tested by `tests/a/test_b.py`."""
    return ROOT / "tests" / path.parent.relative_to(ROOT / "lib") / f"test_{path.name}"


def test_every_module_has_a_test_file():
    check(
        [
            f"{name}: no {mirrored_test(path).relative_to(ROOT)}"
            for name, path in MODULES.items()
            if path.name != "__init__.py"
            and not mirrored_test(path).exists()
            and name not in COVERED_BY
        ]
    )


def test_the_list_of_covering_test_files_is_up_to_date():
    check(
        [
            f"{name} is covered by {file}, which does not exist"
            for name, file in COVERED_BY.items()
            if not (ROOT / file).is_file()
        ]
        + [f"{name} does not exist" for name in COVERED_BY if name not in MODULES]
        + [
            f"{name} has a test file of its own"
            for name in COVERED_BY
            if name in MODULES and mirrored_test(MODULES[name]).exists()
        ]
    )


def public_definitions(body: list[ast.stmt], prefix: str) -> Iterator[tuple[str, ast.AST]]:
    """Public functions, classes and methods of a module or class."""
    for node in body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_"):
            yield f"{prefix}.{node.name}", node
            if isinstance(node, ast.ClassDef):
                yield from public_definitions(node.body, f"{prefix}.{node.name}")


def test_every_public_definition_has_a_docstring():
    check(
        [
            full_name
            for name, path in MODULES.items()
            for full_name, node in public_definitions(ast.parse(path.read_text()).body, name)
            if isinstance(node, ast.FunctionDef | ast.ClassDef) and not ast.get_docstring(node)
        ]
    )


def test_the_tree_of_architecture_md_names_every_module():
    text = (ROOT / "ARCHITECTURE.md").read_text()
    names = [path.name for path in MODULES.values() if path.name != "__init__.py"]
    check([f"ARCHITECTURE.md does not name {name}" for name in names if name not in text])


LOCKED = re.compile(r"(?<![a-z])locked", re.IGNORECASE)  # not "blocked"
SHOW_LOCKED = {"promises", "openimages_baseline", "compare"}  # studies; they choose nothing there


def lines_with_locked(paths: Iterable[Path]) -> Iterator[tuple[str, str]]:
    """Each line that names the locked part, with its place."""
    for path in paths:
        for number, line in enumerate(path.read_text().splitlines(), start=1):
            if LOCKED.search(line):
                yield f"{path.relative_to(ROOT)}:{number}", line.strip()


def test_no_study_looks_at_the_locked_part():
    """No study so much as names the part, but three, which docs/honest_numbers.md names too.

    `promises` measures the ladder of stage 06; `openimages_baseline` fits a baseline that stage 06
    has not, and chooses nothing there; `compare` sets what two finished runs wrote side by side.
    """
    studies = sorted((ROOT / "studies").glob("*.py"))
    others = [path for path in studies if path.stem not in SHOW_LOCKED]
    check([f"{place}: {line}" for place, line in lines_with_locked(others)])
    page = (ROOT / "docs" / "honest_numbers.md").read_text()
    check([f"honest_numbers.md: no {name}" for name in SHOW_LOCKED if name not in page])


def test_only_one_study_takes_a_part_that_the_user_names():
    """A study could reach the locked part without its name, through `PARTS` or its number.

    People may label any part (`human_label --part`); by default it is that of the boosters.
    """
    way = re.compile(r"\bPARTS\b|\bLOCKED\b|splits\.part\b")
    users = {p.stem for p in (ROOT / "studies").glob("*.py") if way.search(p.read_text())}
    assert users - SHOW_LOCKED <= {"human_label"}


def test_no_config_chooses_a_setting_by_the_locked_part():
    """A config names the part where it sets its size, and in no comment that gives a reason."""
    configs = sorted((ROOT / "configs").glob("*.toml"))
    size = re.compile(r"locked = [\d.]+( #|$)")
    check([f"{p}: {line}" for p, line in lines_with_locked(configs) if not size.match(line)])
