"""What a catalog is: of which files, how it is read, how many products, classes and pixels it has.

The files are indexed as stage 01 does it, into the folder of the run, which does not index again.
"""

import os
from collections.abc import Sequence, Set
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from lib.config.data import Data
from lib.config.schema import Config
from lib.data.aspect.sizes import read_sizes
from lib.data.sources.source_files import shards_of
from lib.data.splits import num_folds
from lib.errors import UserError
from lib.pipeline.executor import ensure_all
from lib.pipeline.experiment import Experiment
from lib.pipeline.graph import Graph
from lib.pipeline.predict_target import SHARDS, predict_target
from lib.pipeline.shards import is_pattern, root_of_shards
from lib.planning.attribute_columns import attribute_lines, find_attributes
from lib.planning.columns import decide_columns, encoding_of
from lib.planning.request import Request
from lib.planning.shard_columns import decide_shard_columns
from lib.planning.text_columns import find_texts
from lib.runtime.workers import num_threads
from lib.stages import extract
from lib.stages.read import index_of_side

SAMPLE = 400  # images whose size is read
INDEX = ("extract/unpacked", "extract/categories", "extract/train", "extract/test")


@dataclass(frozen=True)
class Facts:
    """Counts of a catalog. products, images: of "train" and "test". labelled: products with a
    class. classes: that have a product; smallest, median: products of a class. height, width:
    of the median image, in pixels. ids: whether the ids of the labelled products are numbers.
    folds: that data.split_column numbers; 0 for none."""

    products: dict[str, int]
    images: dict[str, int]
    labelled: int
    classes: int
    smallest: int
    median: int
    height: int
    width: int
    ids: bool
    folds: int = 0

    @property
    def all_images(self) -> int:
        """Images of both sides."""
        return sum(self.images.values())

    def to_dict(self) -> dict[str, Any]:
        """As plain data, for plan.json."""
        return asdict(self)


def look(request: Request) -> Data:
    """The settings of [data] that read a catalog. Raises UserError for one that is unclear."""
    base, path = request.base, Path(request.data)
    settled = [o.partition("=")[0].strip() for o in request.overrides]
    given = {key.removeprefix("data.") for key in settled if key.startswith("data.")}
    kind: Any = base.data.source if "source" in given else predict_target(request.data).source
    _check_folder(path, kind)
    root = root_of_shards(path) if is_pattern(path) else path.parent
    train = os.path.relpath(path, root)
    data = replace(base.data, source=kind, root=str(root), train=train, test=request.test)
    if request.test:
        _check_test(request, kind)
    if kind == "csv":
        images = Path(request.images) if request.images else None
        data = decide_columns(path, images, data, given)
        texts = data.text_columns if "text_columns" in given else find_texts(path, data)
        return _with_attributes(path, replace(data, text_columns=texts), given)
    if kind in SHARDS:
        tests = shards_of(Path(request.test), kind) if request.test else []
        data = decide_shard_columns(shards_of(path, kind), tests, data, given)
    if request.images and kind == "parquet":
        return replace(data, images_root=request.images)
    if request.images:
        raise UserError(f"--images {request.images}: {path} is no table, and has its own images")
    if kind == "bson":
        table = data.categories if "categories" in given else _category_table(path, data.categories)
        data = replace(data, categories=table)
        if (path.parent / table).is_file():  # else stage 01 says what is missing
            data = replace(data, encoding=encoding_of(path.parent / table, data.encoding))
    return data


def _with_attributes(path: Path, data: Data, given: Set[str]) -> Data:
    """`data` with the columns of attributes, unless they are among the `given` settings."""
    categorical, numeric = find_attributes(path, data)
    if "categorical_columns" not in given:
        free = [name for name in categorical if name not in data.numeric_columns]
        data = replace(data, categorical_columns=tuple(free))
    if "numeric_columns" not in given:
        free = [name for name in numeric if name not in data.categorical_columns]
        data = replace(data, numeric_columns=tuple(free))
    return data


def _check_test(request: Request, kind: str) -> None:
    other = predict_target(request.test).source
    if other != kind:
        raise UserError(
            f"--test {request.test}: {other}, but {request.data} is {kind}; train first, then"
            " classify other files with --new"
        )


def _check_folder(path: Path, kind: str) -> None:
    """Raise UserError for a folder that is not a catalog, but has a table that is one."""
    if not path.is_dir() or kind != "folders":
        return
    tables = sorted(path.glob("*.csv")) + sorted(path.glob("*.bson"))
    classes = [p for p in path.iterdir() if p.is_dir() and not p.name.startswith(".")]
    if tables and len(classes) < 2:
        names = " or ".join(f"--data {table}" for table in tables[:3])
        raise UserError(f"{path}: a folder with a table; name the table itself: {names}")


def _category_table(path: Path, usual: str) -> str:
    """The table of categories beside a BSON file: of the usual name, or with the ids."""
    if (path.parent / usual).exists():
        return usual
    for table in sorted(path.parent.glob("*.csv")):
        with table.open("rb") as file:
            if b"category_id" in file.readline(4096).lower().split(b"\n")[0]:
                return table.name
    raise UserError(
        f"{path}: no table of its categories beside it; put {usual} there (category_id and three"
        " levels of names), or name it with --set data.categories=FILE"
    )


def index(config: Config, rebuild: bool) -> Facts:
    """Index the files of a config, and count. Raises UserError for files that cannot be read."""
    experiment = Experiment(config)
    graph = Graph(experiment)
    extract.declare(graph)
    artifacts = [a for name, a in graph.artifacts.items() if name.startswith(INDEX)]
    ensure_all("plan", artifacts, config.run, rebuild)
    return count(experiment)


def count(experiment: Experiment) -> Facts:
    """The counts of a catalog that is indexed."""
    catalogs = {side: index_of_side(experiment, side) for side in experiment.sides}
    train = catalogs["train"]
    sizes = np.bincount(train.label[train.label >= 0])
    sizes = sizes[sizes > 0]
    num_images = len(train.length)
    if num_images == 0 or len(sizes) < 2:
        raise UserError(
            f"{train.path}: {num_images} images of {len(sizes)} classes; at least two classes need"
            " images"
        )
    sample = np.unique(np.linspace(0, num_images - 1, min(num_images, SAMPLE)).astype(int))
    shapes = read_sizes(train, num_threads(experiment.config.run), sample)
    shapes = shapes[(shapes > 0).all(axis=1)]
    height, width = np.median(shapes, axis=0) if len(shapes) else (0, 0)
    return Facts(
        products={side: len(catalog.product_id) for side, catalog in catalogs.items()},
        images={side: len(catalog.length) for side, catalog in catalogs.items()},
        labelled=int((train.label >= 0).sum()),
        classes=len(sizes),
        smallest=int(sizes.min()),
        median=int(np.median(sizes)),
        height=int(height),
        width=int(width),
        ids=bool(train.id_is_number().all()),
        folds=0 if train.split is None else num_folds(train.split.unique().to_pylist()),
    )


def lines(data: Data, facts: Facts) -> Sequence[str]:
    """What was found, in lines."""
    what = {
        "csv": f"a table: ids {data.id_column!r}, labels {data.label_column!r},"
        f" images {data.images_column!r} in {data.images_root or 'its own folder'}",
        "folders": "a folder for each class",
        "bson": f"BSON, categories in {data.categories}",
        "npy": "arrays, one for each class",
        "strokes": "drawings, a file for each class",
        "parquet": f"Parquet tables: images {data.images_column!r}, labels {data.label_column!r}",
        "webdataset": f"WebDataset tars: labels {data.label_column!r}",
    }.get(data.source, data.source)
    found = [
        f"catalog: {what}",
        f"{facts.labelled:,} labelled products of {facts.classes:,} classes ({facts.smallest:,} in"
        f" the smallest, {facts.median:,} in the median), {facts.images['train']:,} images of"
        f" {facts.height}x{facts.width} pixels",
    ]
    if data.source == "csv":
        group = data.group_column
        found.append(
            f"products of one {group!r} stay in one part"
            if group
            else "no column plainly says which products belong together; near twins do"
        )
    if data.split_column:
        found.append(
            f"your own split: {data.split_column!r} says which products train, which are held out,"
            ' or their folds (--set data.split_column="" draws one instead)'
        )
    if data.text_columns:
        found.append(
            f"texts: {', '.join(map(repr, data.text_columns))} train a text model beside the"
            " networks (--set data.text_columns=[] leaves them out)"
        )
    found += attribute_lines(data)
    if data.encoding != "auto":
        found.append(f"the table is read as {data.encoding}")
    if "test" in facts.products:
        found.append(
            f"{facts.products['test']:,} products to classify, {facts.images['test']:,} images"
        )
    return found
