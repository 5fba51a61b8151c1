"""The study of mending: three catalogs of the same scenes, compared by their true clusters."""

import csv

import pytest

from lib.errors import UserError
from studies import mending
from studies.mending import MENDED, PUBLISHED, TRUTH, Catalog

CONFIG = "configs/openimages_sample.toml"
TINY = (
    "run.workers=1",
    'data.group_by=""',  # no embeddings of near twins
    "scenes.num_images=100",
    "scenes.num_classes=10",
    "scenes.size=64",
    "scenes.faults.missing_description=0.4",
    "scenes.faults.wrong_label=0",
    "clusters.min_images=8",
    'models.lite0.arch="small"',
    'models.lite0.weights="none"',
    "models.lite0.resize=[24, 24]",
    "models.lite0.crop=[24, 24]",
    "models.lite0.freeze_until=0",
    "models.lite0.head_only_epochs=0",
    "models.lite0.epochs=1",
)


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """Work folder, catalogs and predictions of one seed."""
    work = tmp_path_factory.mktemp("mending")
    return work, *mending.study(CONFIG, [f"work={work}", *TINY], "lite0", 1)


def test_the_labels_of_the_catalog_without_faults_are_those_of_the_subjects(results):
    work, catalogs, _ = results
    truth = catalogs[TRUTH].labels
    (path,) = work.glob("*/extract/scenes/truth/train-labels.csv")
    with path.open(newline="") as file:
        subject = {row["ImageID"]: row["LabelName"] for row in csv.DictReader(file)}
    own = [image for image, cluster in truth.items() if cluster == subject[image]]
    assert len(own) > len(truth) / 3  # the others are in the cluster of a class above
    assert set(truth) <= set(subject)


def test_mending_gives_more_images_their_true_label(results):
    _, catalogs, _ = results
    truth = catalogs[TRUTH].labels

    def true_labels(name):
        labels = catalogs[name].labels
        return sum(labels.get(image) == cluster for image, cluster in truth.items())

    assert true_labels(MENDED) > true_labels(PUBLISHED)


def test_every_labelled_image_outside_of_the_locked_part_is_predicted(results):
    _, catalogs, predicted = results
    for name, (of_seed,) in predicted.items():
        assert set(of_seed) <= set(catalogs[name].labels)
        assert len(of_seed) == pytest.approx(0.8 * len(catalogs[name].labels), abs=5)
        assert set(of_seed.values()) <= set(catalogs[name].clusters)


def test_an_image_that_a_catalog_leaves_out_is_wrong_in_it():
    truth = {"a": "car", "b": "dog", "c": "car", "d": "dog"}
    catalogs = {
        PUBLISHED: Catalog(["car"], {"a": "car", "c": "car", "d": "car"}),
        MENDED: Catalog(["car", "dog"], truth),
        TRUTH: Catalog(["car", "dog"], truth),
    }
    predicted = {
        PUBLISHED: [{"a": "car", "c": "car"}],  # d is in its locked part, b has no label
        MENDED: [{"a": "car", "b": "dog", "c": "dog", "d": "dog"}],
        TRUTH: [{"a": "car", "b": "dog", "c": "car"}],
    }
    lines = mending.to_markdown(catalogs, predicted, "title").splitlines()
    accuracies = [line.split(" | ")[1].split()[0] for line in lines[4:7]]
    assert accuracies == ["0.6667", "0.6667", "1.0000"]
    assert lines[-3] == "| as published | 1 | 3 | 100.0 | 1.0000 |"


def test_a_config_without_scenes_is_an_error():
    with pytest.raises(UserError, match=r"set scenes\.num_images"):
        mending.compose_scenes("configs/sample.toml", [])
