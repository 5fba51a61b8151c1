import re
import tomllib

import pytest

from lib.config.convert import build
from lib.config.reference import describe, markdown, tables, type_words
from lib.config.renamed import check_renamed
from lib.config.schema import Boosters, Config
from lib.config.setting import PositiveInt
from lib.config.write import to_toml
from lib.errors import UserError
from tests.conftest import ROOT


def test_the_committed_reference_is_the_generated_one():
    hint = "run python -m lib.config --markdown > docs/settings.md"
    assert (ROOT / "docs/settings.md").read_text() == markdown().rstrip("\n") + "\n", hint


def test_every_setting_that_is_written_is_described():
    described = {table.full_key(setting) for table in tables() for setting in table.settings}
    key = ""
    for line in to_toml(Config()).splitlines():
        if line.startswith("["):
            key = line.strip("[]") + "."
        elif line:
            assert key + line.split(" = ")[0] in described


def test_one_key_is_described_with_default_type_and_range():
    assert describe("train.batch_size").splitlines() == [
        "train.batch_size = 64",
        "    Images in a batch. (whole number, from 2 to 1000000)",
    ]
    assert describe("models.anything.batch_size") == describe("train.batch_size")
    assert describe("backbones.x.crop").startswith("backbones.NAME.crop = [160, 160]")


def test_a_table_is_described_with_the_tables_inside_it():
    text = describe("train")
    assert "[train.loss]" in text
    assert "train.loss.mixup_alpha = 0.0" in text
    assert "stack." not in describe("train.loss")
    assert "[stack]" in describe()


@pytest.mark.parametrize(
    ("key", "words"),
    [
        ("train.bach_size", "did you mean train.batch_size?"),
        ("stak", "did you mean stack?"),
        ("models.a.batch", "models.a.batch is now models.a.batch_size"),
        ("round", "round is now pseudo_label"),
    ],
)
def test_an_unknown_key_names_the_nearest(key, words):
    with pytest.raises(UserError) as error:
        describe(key)
    assert words in str(error.value)


def test_types_are_described_in_words():
    assert type_words(tuple[PositiveInt, ...]) == "list: whole number, at least 1"
    assert type_words(tuple[int, int]) == "list of 2: whole number"
    assert (
        type_words(tuple[int, PositiveInt]) == "list of 2: whole number; whole number, at least 1"
    )
    assert type_words(Boosters).endswith("xgb_rank; each once")
    assert type_words(dict[str, str]) == "table: string"


DOCUMENTS = [
    *(path for path in ROOT.glob("*.md") if path.name != "CHANGELOG.md"),  # it has old names
    *ROOT.glob("docs/*.md"),
    ROOT / "run_all.sh",
]
CODE = [*ROOT.glob("studies/*.py"), *ROOT.glob("bench/*.py"), *ROOT.glob("lib/**/*.py")]
KEYS = {table.full_key(setting) for table in tables() for setting in table.settings}
FIRST = {key.split(".")[0] for key in KEYS} | {"models"}


FILES = (".py", ".npy", ".bson", ".csv", ".json", ".txt")


def generally(key: str) -> str:
    """`models.a.lr` as `train.lr`."""
    return re.sub(r"^models\.\w+\.", "train.", key)


@pytest.mark.parametrize("path", [*DOCUMENTS, *CODE], ids=lambda path: path.name)
def test_every_setting_that_a_text_sets_exists(path):
    keys = {generally(key) for key in re.findall(r"--set[ =]([\w.]+)=", path.read_text())}
    assert keys <= KEYS


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_every_setting_that_a_document_names_exists(path):
    named = re.findall(r"`([a-z_0-9]+(?:\.\w+)+)(?: = [^`]*)?`", path.read_text())
    keys = [key for key in named if key.split(".")[0] in FIRST and not key.endswith(FILES)]
    tables_and_keys = KEYS | {table.key for table in tables()}
    assert {generally(key) for key in keys} <= tables_and_keys


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_every_toml_example_in_a_document_has_settings_that_exist(path):
    for text in re.findall(r"```toml\n(.*?)```", path.read_text(), re.DOTALL):
        tree = tomllib.loads(text)
        tree.pop("extends", None)
        check_renamed(tree, path.name)
        build(Config, tree, path.name)
