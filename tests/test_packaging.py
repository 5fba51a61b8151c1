"""The packages that the code imports, the pinned requirements and the metadata agree."""

import ast
import re
import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

from lib.config.inputs.ocr import ENGINE
from lib.training.events import PACKAGE
from tests.conftest import ROOT

DISTRIBUTIONS = packages_distributions()  # slow: it reads the file list of every package
OWN = {"lib", "studies", "bench", "tests"}
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS = PROJECT["optional-dependencies"]
OPTIONAL = ("cluster", "ocr", "text")  # extras that have a requirements file


# The CUDA build that requirements.txt names for a machine with a GPU.
EQUIVALENT = {"xgboost": "xgboost-cpu"}


def normalized(name: str) -> str:
    """A distribution name as package indexes compare it (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


def pins(file: str) -> dict[str, str]:
    """Each requirement line of a file without its comment, by distribution name."""
    lines = [line.split("#")[0].strip() for line in (ROOT / file).read_text().splitlines()]
    return {normalized(line.split("==")[0]): line for line in lines if line}


def imported(path: Path) -> Iterator[str]:
    """Top-level modules that a source file imports, inside functions included."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            yield node.module.split(".")[0]


def distributions(module: str) -> set[str]:
    """Names of the installed distributions that provide a top-level module."""
    # What is not installed has the name of its module, as the packages of an extra do here.
    names = {normalized(name) for name in DISTRIBUTIONS.get(module, [module])}
    return names | {EQUIVALENT[name] for name in names & set(EQUIVALENT)}


def third_party(folder: str) -> set[str]:
    modules = {name for path in (ROOT / folder).rglob("*.py") for name in imported(path)}
    return modules - OWN - set(sys.stdlib_module_names)


@pytest.mark.parametrize(
    ("folder", "files"),
    [
        ("lib", ["requirements.txt", *(f"requirements-{extra}.txt" for extra in OPTIONAL)]),
        ("studies", ["requirements.txt"]),
        ("bench", ["requirements.txt", "requirements-dev.txt"]),
        ("tests", ["requirements.txt", "requirements-dev.txt"]),
    ],
)
def test_every_imported_package_is_pinned(folder, files):
    pinned = {name for file in files for name in pins(file)}
    for module in sorted(third_party(folder)):
        assert distributions(module) & pinned, (
            f"{folder}/ imports {module}, which {files} do not pin"
        )


def test_every_requirement_has_one_exact_version():
    for file in (
        *("requirements.txt", "requirements-dev.txt"),
        *(f"requirements-{extra}.txt" for extra in OPTIONAL),
    ):
        for line in pins(file).values():
            assert re.fullmatch(r"[\w.-]+==[\w.]+", line), f"{file}: {line}"


def test_dependencies_and_extras_are_the_requirement_files():
    optional = {*EXTRAS["studies"], *EXTRAS["labelling"]}
    assert not optional & set(PROJECT["dependencies"])
    assert {*PROJECT["dependencies"], *optional} == set(pins("requirements.txt").values())
    assert EXTRAS["tensorboard"] == [PACKAGE]  # nothing else needs it, so no file has it
    for extra in OPTIONAL:
        assert set(EXTRAS[extra]) == set(pins(f"requirements-{extra}.txt").values())
        assert set(EXTRAS["dev"]) >= set(EXTRAS[extra])
    assert set(EXTRAS["dev"]) == set(pins("requirements-dev.txt").values())


def test_the_engine_that_reads_words_is_the_pinned_one():
    """Its versions count among the settings of what it read."""
    pinned = {f"{name}=={version}" for name, version in ENGINE.items()}
    assert pinned == set(pins("requirements-ocr.txt").values())


@pytest.mark.parametrize(
    ("folder", "extras"), [("studies", ["studies"]), ("lib", ["labelling", *OPTIONAL])]
)
def test_extras_hold_what_their_folder_needs_beyond_the_dependencies(folder, extras):
    core = {normalized(line.split("==")[0]) for line in PROJECT["dependencies"]}
    named = {normalized(line.split("==")[0]) for extra in extras for line in EXTRAS[extra]}
    for module in third_party(folder):
        assert distributions(module) & (core | named), f"{folder}/ imports {module}"


def test_the_licence_file_is_the_licence_of_the_metadata():
    assert PROJECT["license"] == "Apache-2.0"
    assert (
        "Apache License\n                           Version 2.0" in (ROOT / "LICENSE").read_text()
    )
    assert (ROOT / PROJECT["readme"]).is_file()
