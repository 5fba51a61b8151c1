import pytest

from lib.config.load import load
from lib.errors import UserError

CSV = ["data.source=csv", "data.train=a.csv", "data.test=b.csv", 'data.text_columns=["title"]']
FOLDERS = ["data.source=folders"]
SAMPLE = ["data.source=sample", "sample.title_missing=0.5"]
TEXT = ['models.a.input="text"']


def problem(folder, *overrides: str) -> str:
    """The message of a config with these settings; empty if it is valid."""
    path = folder / "c.toml"
    path.write_text("[models.a]\n")
    try:
        load(path, overrides)
    except UserError as error:
        return str(error)
    return ""


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ([*CSV, *TEXT], ""),
        ([*CSV, *TEXT, 'models.a.text.columns=["title"]'], ""),
        (TEXT, "models.a reads texts: it needs data.text_columns"),
        (
            [*CSV, *TEXT, 'models.a.text.columns=["brand"]'],
            "models.a.text.columns = 'brand'; choose of title, ocr, or name it",
        ),
        ([*TEXT, 'models.a.text.columns=["ocr"]'], ""),
        ([*CSV, *TEXT, 'models.a.text.columns=["title", "ocr"]'], ""),
        ([*FOLDERS, *TEXT, 'models.a.text.columns=["brand"]'], "choose of ocr, or name it"),
        (["ocr.min_side=512", "ocr.max_side=256"], "ocr.min_side 512 is above ocr.max_side 256"),
        ([*CSV, 'models.a.text.columns=["title"]'], 'for a model with input = "text"'),
        ([*CSV, "data.label_column=title"], "'title' is data.label_column"),
        (["data.train_texts=t.csv"], "data.train_texts: name the columns to read in data.text_co"),
        (['data.text_columns=["title"]'], ""),
        ([*FOLDERS, 'data.text_columns=["title"]'], "ids and texts in data.train_texts"),
        (
            [*FOLDERS, 'data.text_columns=["title"]', "data.train_texts=t.csv"],
            "ids and texts in data.test_texts",
        ),
        ([*FOLDERS, 'data.text_columns=["title"]', "data.train_texts=t.csv", "data.test="], ""),
        (["data.source=csv", 'data.categorical_columns=["b"]', 'data.numeric_columns=["p"]'], ""),
        ([*CSV, 'data.numeric_columns=["category"]'], "data.numeric_columns: 'category' is data.l"),
        (
            [*FOLDERS, 'data.categorical_columns=["b"]'],
            "data.categorical_columns: source = 'folders' has no",
        ),
        (
            ["data.source=csv", 'data.categorical_columns=["p"]', 'data.numeric_columns=["p"]'],
            "'p' is in data.categorical_columns too",
        ),
        (
            ["data.source=csv", 'data.numeric_columns=["p"]', "models.attributes.epochs=1"],
            "models.attributes: with columns of attributes",
        ),
        (["data.source=openimages", 'data.text_columns=["title"]'], "no texts; leave it out"),
        (["data.source=sample", 'data.text_columns=["title"]'], "the sample has no 'title'"),
        ([*SAMPLE, 'data.text_columns=["title"]'], ""),
        ([*SAMPLE, 'data.numeric_columns=["price"]'], "data.numeric_columns: the sample has no"),
        (["sample.picture_words=0.1"], "set sample.image_size to 96 or more"),
        (["sample.picture_words=0.1", "sample.image_size=96"], ""),
    ],
)
def test_settings_of_texts_fit_each_other(tmp_path, overrides, message):
    found = problem(tmp_path, *overrides)
    assert message in found
    assert bool(found) == bool(message)
