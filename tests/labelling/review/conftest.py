"""A review of forty products of a small catalog, without a run of the pipeline."""

from collections.abc import Iterator
from pathlib import Path

import flask
import numpy as np
import pytest

from lib.config.schema import Config
from lib.data.catalog import Catalog, read_categories
from lib.labelling.images import ProductImages
from lib.labelling.review.app import ReviewPage, create_app
from lib.labelling.review.log import ReviewLog
from lib.labelling.review.queue import ReviewQueue
from lib.labelling.review.task import ReviewTask, make_review_task
from lib.output.report.names import ClassNames
from lib.output.report.sections.new_products import NewProducts
from lib.pipeline.experiment import Experiment
from lib.similarity.nearest_products import NearestProducts
from lib.stages.read import catalog_of_part

NUM_OPEN, NUM_PEOPLE = 40, 2


def predictions_of(catalog: Catalog, num_classes: int) -> NewProducts:
    """Random classes and chances of every product; those of NUM_OPEN are not accepted."""
    rng, count = np.random.default_rng(0), len(catalog.product_id)
    ranked = np.argsort(rng.random((count, num_classes)), axis=1)[:, :6]
    chances = -np.sort(-rng.dirichlet(np.ones(7), count), axis=1)[:, :6]
    ranked[:, 5] = -1
    chances[:, 5] = np.nan
    accepted = np.ones(count, bool)
    accepted[rng.permutation(count)[:NUM_OPEN]] = False
    reason = np.where(accepted, "", "improbable").astype(object)
    keys = [catalog.key(row) for row in range(count)]
    images = catalog.image_count.astype(np.int64)
    return NewProducts(keys, ranked, chances, accepted, reason, images, np.ones(count))


def make_task(config: Config) -> ReviewTask:
    """A review of labelled products; the products beside each are near it."""
    experiment = Experiment(config)
    catalog = catalog_of_part(experiment, "train")
    names = ClassNames(read_categories(experiment.path("extract/categories")))
    rows = np.arange(len(catalog.product_id), dtype=np.int32)
    others = np.column_stack([np.roll(rows, 1), np.roll(rows, -1), np.full(len(rows), -1)])
    images = np.where(others >= 0, catalog.first_image[others], -1)
    near = NearestProducts(others, np.array([[0.9, 0.5, -np.inf]] * len(rows)), images)
    return make_review_task(catalog, catalog, predictions_of(catalog, len(names)), near, names)


@pytest.fixture(scope="session")
def task(twelve_classes: tuple[Path, Config]) -> ReviewTask:
    return make_task(twelve_classes[1])


@pytest.fixture
def log(tmp_path: Path) -> Iterator[ReviewLog]:
    with ReviewLog(tmp_path / "answers.sqlite") as opened:
        yield opened


@pytest.fixture
def queue(task: ReviewTask, log: ReviewLog) -> ReviewQueue:
    return ReviewQueue(log, task.keys)


@pytest.fixture
def app(task: ReviewTask, queue: ReviewQueue) -> Iterator[flask.Flask]:
    images = ProductImages(task.catalog, most=None)
    yield create_app(ReviewPage(task, queue, images, images, NUM_PEOPLE))
    images.close()
