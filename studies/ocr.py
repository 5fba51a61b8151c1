"""What the words in the pictures tell beside the pictures themselves, out-of-fold.

    python -m studies.ocr --config configs/sample_ocr.toml
    python -m studies.ocr --sizes

The first reads what stages 01 to 03 of the config left: the parts, the out-of-fold predictions of
the models that read nothing but words in pictures (`text.columns = ["ocr"]`), and those of all
other models. "pictures + words" is their geometric mean. The weight of the words in it is chosen
for each fold by the accuracy of the other folds, over all products. Products have words if the
engine read any in their pictures.

The second reads pictures and words of several sizes with several settings of `ocr.min_side`: how
many of the words are read, and what a picture costs.
"""

import argparse
import sys
import time
from collections.abc import Iterator, Sequence

import cv2
import numpy as np

from lib.config.data import Sample
from lib.config.inputs.ocr import OCR_COLUMN, Ocr
from lib.config.schema import Config
from lib.data.catalog import read_categories, read_splits
from lib.data.decoding.decode import decode_image
from lib.data.synthetic.images import (
    Appearance,
    class_appearances,
    draw_image,
    draw_words,
    encode_jpeg,
)
from lib.data.synthetic.words.vocabulary import word
from lib.errors import UserError
from lib.evaluation.markdown import table
from lib.evaluation.metrics import accuracy, gain
from lib.features.network import best_classes
from lib.features.query import make_query
from lib.inference.ocr import words_of_products
from lib.models.text.ocr import load_engine
from lib.pipeline.experiment import load_experiment
from lib.stages.read import catalog_of_part, index_of_side, read_topk
from studies.command import config_parser, print_report
from studies.compare import Run
from studies.tables import points
from studies.text import FOLDS, with_pictures

HEADER = (
    *("products", "count", "pictures", "words alone", "pictures + words", "over pictures"),
    "over words",
)

SEED, PICTURES = 1, 20
SIZES = ((64, 6), (180, 4), (180, 5), (180, 6), (180, 9))  # side and height of letters, in pixels
MIN_SIDES = (160, 320, 480, 736)


def split_models(config: Config) -> tuple[dict[str, float], str]:
    """Weights of the models that see pictures, and the name of the one that reads their words.

    Raises UserError unless there are both.
    """
    readers = [n for n, m in config.classifiers.items() if m.text.columns == (OCR_COLUMN,)]
    pictures = {n: w for n, w in config.model_weights.items() if n not in readers}
    if len(readers) != 1 or not pictures:
        raise UserError(f'{config.name}: one model with text.columns = ["ocr"], and others')
    return pictures, readers[0]


def study(run: Run, has_words: np.ndarray) -> Iterator[list[str]]:
    """Cells of each row of the table: all products, those with words, those without.

    has_words: bool [P], of the labelled products.
    """
    experiment, catalog, splits = run.experiment, run.catalog, run.splits
    pictures, reader = split_models(experiment.config)
    products, classes = splits.products("fit"), len(run.categories)
    label = catalog.label[products]
    fold = splits.fold_of_product(FOLDS)[products]
    query = make_query(catalog, products)
    topks = [read_topk(experiment, name, "fit") for name in pictures]
    words, weights = read_topk(experiment, reader, "fit"), list(pictures.values())
    before = best_classes(query, topks, weights, classes) == label
    alone = best_classes(query, [words], [1.0], classes) == label
    both = with_pictures(query, topks, weights, words, label, classes, fold)
    group = None if catalog.group is None else catalog.group[products]
    rows = {"all": np.ones(len(products), bool), "with words": has_words[products]}
    rows["without words"] = ~rows["with words"]
    for name, some in rows.items():
        of = None if group is None else group[some]
        yield [
            name,
            f"{some.sum():,}",
            str(accuracy(before[some], group=of)),
            str(accuracy(alone[some], group=of)),
            str(accuracy(both[some], group=of)),
            points(gain(both[some], before[some], group=of)),
            points(gain(both[some], alone[some], group=of)),
        ]


def read_sizes(
    sizes: Sequence[tuple[int, int]] = SIZES,
    min_sides: Sequence[int] = MIN_SIDES,
    pictures: int = PICTURES,
) -> Iterator[list[str]]:
    """Cells of each row of the table of sizes.

    sizes: the side of a picture and the height of its letters, in pixels. For each of `min_sides`
    a row has the share of words that are read, and the CPU seconds of a picture.
    """
    family = np.arange(pictures)
    appearances = class_appearances(family, family, SEED)
    for side, letters in sizes:
        cells = []
        drawn = [_draw(appearances[n], n, side, letters) for n in range(pictures)]
        for min_side in min_sides:
            engine, start = load_engine(Ocr(min_side=min_side)), time.process_time()
            found = [written in (engine.read(image) or "").upper() for image, written in drawn]
            seconds = (time.process_time() - start) / pictures
            cells.append(f"{np.mean(found):.0%}, {seconds:.2f} s")
        yield [f"{side}x{side}", str(letters), *cells]


def _draw(appearance: Appearance, number: int, side: int, letters: int) -> tuple[np.ndarray, str]:
    """A picture with a product with a word on it in its corner, uint8 RGB, and the word.

    The word is a tenth of the product's part high.
    """
    rngs = [np.random.default_rng([SEED, number, part]) for part in range(3)]
    image = np.full((side, side, 3), 235, np.uint8)
    part = min(side, 10 * letters)
    product = draw_image(appearance, rngs[0], rngs[1], 0, part, Sample().difficulty)
    written = word(SEED, "family", number, language=1).upper()
    draw_words(product, written, rngs[2])
    image[:part, :part] = product
    return decode_image(encode_jpeg(image)), written


def report(arguments: argparse.Namespace) -> str:
    """The table in Markdown."""
    if arguments.sizes:
        cv2.setNumThreads(0)
        header = ("picture", "letters", *(f"min_side = {side}" for side in MIN_SIDES))
        return table(header, list(read_sizes()))
    experiment = load_experiment(arguments.config, arguments.set)
    run = Run(
        experiment.config.name,
        experiment,
        catalog_of_part(experiment, "train"),
        read_categories(experiment.path("extract/categories")),
        read_splits(experiment.path("extract/splits")),
    )
    split_models(experiment.config)
    folder, index = experiment.path("extract/ocr/train"), index_of_side(experiment, "train")
    has_words = words_of_products(folder, index).is_valid().to_numpy()
    return table(HEADER, list(study(run, has_words)))


def main() -> int:
    """Exit status: 0, or 2 after a user error."""
    parser = config_parser(
        "ocr",
        "Accuracy of pictures, of the words in them, and of both, out-of-fold.",
        "configs/sample_ocr.toml",
    )
    parser.add_argument("--sizes", action="store_true", help="small pictures instead of a run")
    return print_report(parser.parse_args(), report)


if __name__ == "__main__":
    sys.exit(main())
