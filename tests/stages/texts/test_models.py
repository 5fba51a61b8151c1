"""Texts of a CSV catalog, and text models: what they depend on and what they may not see."""

import csv
import shutil
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pyarrow as pa
import pytest

from lib.data.catalog import read_splits
from lib.errors import UserError
from lib.features.query import Query, make_query, with_imageless
from lib.inference.topk import TopK
from lib.models.text import fit
from lib.models.text.classifier import TextClassifier
from lib.pipeline.artifact import Artifact
from lib.pipeline.experiment import Experiment, load_experiment
from lib.pipeline.predict_target import predict_target
from lib.stages import extract
from lib.stages.order import build_stage, declare_all
from lib.stages.read import catalog_of_part
from lib.stages.texts.models import predict_texts, train_texts
from lib.stages.texts.tables import build_texts, texts_of_side
from lib.stages.train import train_valid_products
from lib.training.checkpoint import read_history
from tests.conftest import ROOT

CONFIG = """
name = "texts"
[data]
root = "FOLDER"
source = "csv"
train = "train.csv"
test = "new.csv"
group_by = ""
text_columns = ["title", "color"]
train_texts = "beside.csv"
test_texts = "beside.csv"
[split]
locked = 0.2
n_folds = 2
[train]
arch = "small"
weights = "none"
n_folds = 2
checkpoint = "best"
[models.a]
[models.words]
input = "text"
text.epochs = 2
[run]
threads = 1
"""
CLASSES = ("Bags", "Shoes", "Watches")


@pytest.fixture(scope="module")
def experiment(tmp_path_factory) -> Experiment:
    """Stage 01 of 60 labelled and 6 other products; read only. A third has no title.

    Labelled products 50 to 59 and the last one have no image.
    """
    folder = tmp_path_factory.mktemp("texts")
    (folder / "images").mkdir()
    rng = np.random.default_rng(0)
    rows = []
    for number in range(66):
        of_class = CLASSES[number % 3]
        name = f"{number}.png"
        cv2.imwrite(str(folder / "images" / name), rng.integers(0, 255, (24, 24, 3), np.uint8))
        name = "" if 50 <= number < 60 or number == 65 else name
        title = f"nice {of_class} {rng.integers(9)}" if number % 9 < 6 else ""
        rows.append([str(number), of_class, name, title])
    header = ["product", "category", "images", "title"]
    write(folder / "train.csv", [header, *rows[:60]])
    write(folder / "new.csv", [[*header[:1], *header[2:]], *([r[0], *r[2:]] for r in rows[60:])])
    write(folder / "beside.csv", [["_id", "color"], *([r[0], "red"] for r in rows[::2])])
    (folder / "texts.toml").write_text(CONFIG.replace("FOLDER", str(folder)))
    experiment = load_experiment(folder / "texts.toml", [f"work={folder}"])
    build_stage(extract, experiment, False)
    return experiment


def query_of(experiment: Experiment, part: str) -> Query:
    catalog = catalog_of_part(experiment, part)
    return make_query(catalog, np.arange(len(catalog.product_id)))


def write(path: Path, rows: list[list[str]]) -> None:
    with path.open("w", newline="") as file:
        csv.writer(file).writerows(rows)


def train(experiment: Experiment, folder: Path, fold: str = "fold0") -> TextClassifier:
    folder.mkdir(parents=True)
    train_texts(experiment, "words", fold, folder)
    return TextClassifier.load(folder)


def with_text(experiment: Experiment, **settings: object) -> Experiment:
    """The same experiment with other settings of its text model."""
    words = experiment.config.models["words"]
    words = replace(words, text=replace(words.text, **settings))
    models = {**experiment.config.models, "words": words}
    return replace(experiment, config=replace(experiment.config, models=models))


def test_texts_are_aligned_with_the_products_of_both_sides(experiment):
    model = experiment.config.models["words"]
    for side, first in (("train", 0), ("test", 60)):
        texts = texts_of_side(experiment, model.text, side)
        keys = catalog_of_part(experiment, side).product_id.tolist()
        assert keys[0] == first
        assert [color == "red" for color in texts["color"].to_pylist()] == [
            key % 2 == 0 for key in keys
        ]
        for key, title in zip(keys, texts["title"].to_pylist(), strict=True):
            assert (title is None) == (key % 9 >= 6)
            assert title is None or CLASSES[key % 3] in title
    only = replace(model, text=replace(model.text, columns=("color",)))
    assert texts_of_side(experiment, only.text, "train").column_names == ["color"]


@pytest.mark.parametrize("weights", ["full", "low_rank"])
def test_labels_of_a_fold_never_reach_the_rows_of_that_fold(experiment, tmp_path, weights):
    """They may be wrong in any way: the classifier and its rows are the same to the last bit."""
    experiment = with_text(experiment, weights=weights)
    model = experiment.config.models["words"]
    _, left_out = train_valid_products(experiment, model, "fold0")
    assert len(left_out) > 10
    copy = replace(experiment, config=replace(experiment.config, work=str(tmp_path / "copy")))
    shutil.copytree(experiment.folder, copy.folder)
    path = copy.path("extract/train") / "products.arrow"
    table = pa.ipc.open_file(path).read_all()
    label = table["class_id"].to_numpy().copy()
    label[left_out] = np.random.default_rng(0).permutation(label[left_out])
    table = table.set_column(table.column_names.index("class_id"), "class_id", pa.array(label))
    table = table.combine_chunks()
    path.unlink()
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_file(file, table.schema) as writer:
        writer.write_table(table)
    before, after = (
        train(one, tmp_path / name, "fold0")
        for name, one in (("before", experiment), ("after", copy))
    )
    assert before.weight.tobytes() == after.weight.tobytes()
    assert (before.embedding is None) == (weights == "full")
    assert np.array_equal(before.embedding, after.embedding)
    assert before.idf.tobytes() == after.idf.tobytes()
    assert before.prior.tobytes() == after.prior.tobytes()
    other = train(copy, copy.path("cnn/words") / "fold1", "fold1")
    assert other.weight.tobytes() != train(experiment, tmp_path / "1", "fold1").weight.tobytes()


def test_words_of_a_fold_do_not_count_in_its_own_idf(experiment, tmp_path):
    model = experiment.config.models["words"]
    train_products, _ = train_valid_products(experiment, model, "fold1")
    texts = texts_of_side(experiment, model.text, "train").take(pa.array(train_products))
    with_text = sum(any(row) for row in zip(*texts.to_pydict().values(), strict=True))
    classifier = train(experiment, tmp_path / "fold1", "fold1")
    assert classifier.idf.max() <= np.log((1 + with_text) / 2) + 1 + 1e-6


def test_all_images_of_a_product_have_the_prediction_of_its_texts(experiment, tmp_path):
    copy = replace(experiment, config=replace(experiment.config, work=str(tmp_path / "copy")))
    shutil.copytree(experiment.folder, copy.folder)
    for fold in ("fold0", "fold1"):
        folder = copy.path(f"cnn/words/{fold}")
        shutil.rmtree(folder, ignore_errors=True)
        train(copy, folder, fold)
    texts = texts_of_side(copy, copy.config.models["words"].text, "test")
    folder = tmp_path / "test"
    folder.mkdir()
    facts = predict_texts(copy, "words", "test", folder)
    assert facts == {"images": 5, "imageless_products": 1}
    _, topk = with_imageless(query_of(copy, "test"), TopK.load(folder))
    assert topk.image.tolist() == [*range(5), -1]
    label = np.arange(60, 66) % 3
    for row, (title, color) in enumerate(zip(*texts.to_pydict().values(), strict=True)):
        if title:
            assert topk.classes[row, 0] == label[row]
        elif not color:
            np.testing.assert_allclose(topk.probs[row], 1 / 3, atol=2e-3)
    fit = tmp_path / "fit"
    fit.mkdir()
    predict_texts(copy, "words", "fit", fit)
    assert (
        len(TopK.load(fit, "center").image)
        == catalog_of_part(copy, "train")
        .image_count[read_splits(copy.path("extract/splits")).products("fit")]
        .sum()
    )


def test_a_product_without_images_is_scored_by_the_model_that_left_out_its_fold(
    experiment, tmp_path
):
    copy = replace(experiment, config=replace(experiment.config, work=str(tmp_path / "copy")))
    shutil.copytree(experiment.folder, copy.folder)
    models = []
    for fold in ("fold0", "fold1"):
        folder = copy.path(f"cnn/words/{fold}")
        shutil.rmtree(folder, ignore_errors=True)
        models.append(train(copy, folder, fold))
    folder = tmp_path / "fit"
    folder.mkdir()
    predict_texts(copy, "words", "fit", folder)
    topk = TopK.load(folder).imageless
    fold = read_splits(copy.path("extract/splits")).fold_of_product(2)[topk.image]
    assert (topk.image >= 50).all()
    assert set(fold.tolist()) == {0, 1}
    texts = texts_of_side(copy, copy.config.models["words"].text, "train").take(
        pa.array(topk.image)
    )
    for number, model in enumerate(models):
        probs = model.predict(texts)[fold == number].max(axis=1)
        np.testing.assert_allclose(topk.probs[fold == number, 0], probs, atol=1e-3)


def test_new_products_may_have_no_texts(experiment, tmp_path, caplog):
    images = tmp_path / "photos"
    shutil.copytree(Path(experiment.config.data.root) / "images", images)
    copy = replace(experiment, config=replace(experiment.config, work=str(tmp_path)))
    shutil.copytree(experiment.folder, copy.folder)
    data = replace(copy.config.data, test_texts="", train_texts="")
    copy = replace(copy, config=replace(copy.config, data=data), target=predict_target(str(images)))
    artifacts = {a.path: a for stage in declare_all(copy).values() for a in stage}
    index = artifacts[copy.path("extract/test")]
    index.path.mkdir(parents=True)
    index.build(index.path)
    folder = tmp_path / "new"
    folder.mkdir()
    facts = build_texts(copy, "test", folder)
    assert facts["without_text"] == facts["products"] == 66
    assert "title, color: in no table; these values are missing" in caplog.text


def test_no_product_with_a_text_is_one_line(experiment, tmp_path):
    copy = replace(experiment, config=replace(experiment.config, work=str(tmp_path / "copy")))
    shutil.copytree(experiment.folder, copy.folder)
    path = copy.path("extract/texts/train") / "texts.arrow"
    table = pa.ipc.open_file(path).read_all()
    empty = pa.table({name: pa.nulls(len(table), pa.string()) for name in table.column_names})
    path.unlink()
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_file(file, empty.schema) as writer:
        writer.write_table(empty)
    with pytest.raises(UserError, match=r"models\.words: no product to train on has a text"):
        train(copy, tmp_path / "fold0")


def test_a_stopped_training_keeps_its_history(experiment, tmp_path, monkeypatch):
    """As a kill after the first epoch leaves it; the second epoch follows, and the files agree."""
    monkeypatch.setattr(fit, "SAVE_SECONDS", -1.0)
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    train(experiment, whole)
    evaluate, calls = TextClassifier.evaluate, []

    def interrupt(*arguments: object) -> object:
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return evaluate(*arguments)

    monkeypatch.setattr(TextClassifier, "evaluate", interrupt)
    stopped.mkdir()
    with pytest.raises(KeyboardInterrupt):
        train_texts(experiment, "words", "fold0", stopped)
    assert len(read_history(stopped)) == 1
    train_texts(experiment, "words", "fold0", stopped)
    assert len(calls) == 3
    names = {path.name for path in whole.iterdir()}
    assert names == {path.name for path in stopped.iterdir()}
    for name in names - {"_times.jsonl"}:
        assert (whole / name).read_bytes() == (stopped / name).read_bytes(), name


def test_settings_at_their_defaults_are_in_no_manifest(experiment):
    """Those that came later: classifiers of earlier versions stay fresh."""
    for settings, added in (
        ({}, set()),
        ({"rank": 64}, {"rank"}),
        ({"weights": "low_rank", "rank": 128}, {"weights"}),
    ):
        declared = declare_all(with_text(experiment, **settings)).values()
        path = experiment.path("cnn/words/fold0")
        (artifact,) = (a for stage in declared for a in stage if a.path == path)
        earlier = {"columns", "num_features", "epochs", "lr"}
        assert set(artifact.config["text"]) == earlier | added


def test_artifacts_without_texts_do_not_change(experiment):
    """What has no text among its inputs depends on no setting of texts."""
    path = ROOT / "configs" / "fashion.toml"
    texts = ['data.text_columns=["title"]', "data.train_texts=a.csv", "data.test_texts=b.csv"]
    plain, with_texts = (
        {a.path: a for stage in declare_all(load_experiment(path, extra)).values() for a in stage}
        for extra in ((), texts)
    )
    added = {with_texts[path].path.parent.name for path in with_texts.keys() - plain.keys()}
    assert added == {"texts"}
    for path, artifact in plain.items():
        assert artifact.config == with_texts[path].config
        assert list(artifact.inputs) == list(with_texts[path].inputs)
        assert "text" not in artifact.config.get("train", {})


def artifacts_of(config: str, *overrides: str) -> dict[str, Artifact]:
    experiment = load_experiment(ROOT / "configs" / config, overrides)
    declared = (a for stage in declare_all(experiment).values() for a in stage)
    return {str(a.path.relative_to(experiment.folder)): a for a in declared}


def test_words_in_pictures_change_no_artifact_but_their_own():
    reader = ('models.read.input="text"', 'models.read.text.columns=["ocr"]', "data.test=")
    plain, set_only, read, smaller = (
        artifacts_of("sample.toml", *overrides)
        for overrides in (
            ("data.test=",),
            ("data.test=", "ocr.min_side=64"),
            reader,
            (*reader, "ocr.min_side=64"),
        )
    )
    assert {name: a.config for name, a in set_only.items()} == {
        n: a.config for n, a in plain.items()
    }
    assert {name for name in read if name.startswith("extract")} == {
        *(name for name in plain if name.startswith("extract")),
        "extract/ocr/train",
    }
    for name in (name for name in plain if name.startswith(("extract", "cnn"))):
        assert (plain[name].config, list(plain[name].inputs)) == (
            read[name].config,
            list(read[name].inputs),
        )
    assert [n for n in read if read[n].config != smaller[n].config] == ["extract/ocr/train"]
    for name in ("cnn/read/fold0", "predictions/read/fit"):
        assert "extract/ocr/train" in read[name].inputs
        assert "extract/texts/train" not in read[name].inputs


def test_a_column_of_a_table_may_have_the_name_of_the_words_in_pictures():
    overrides = ('models.read.input="text"', 'data.text_columns=["ocr"]', "data.source=csv")
    named = artifacts_of("sample.toml", *overrides, 'models.read.text.columns=["ocr"]')
    assert "extract/texts/train" in named["cnn/read/fold0"].inputs
    assert not [name for name in named if name.startswith("extract/ocr")]
