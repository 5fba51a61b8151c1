"""Stage 01: index the files of the catalog; categories, parts and folds.

work/<name>/extract/sample          the generated catalog, if data.source = "sample"
work/<name>/extract/scenes          composed scenes with boxes, if scenes.num_images is not 0
work/<name>/extract/unpacked/<side> compressed drawings, or images of tables, unpacked
work/<name>/extract/categories      the categories
work/<name>/extract/train, /test    products and images of each side
work/<name>/extract/whole/<side>    the same of all products, if data.draw draws some
work/<name>/extract/splits          part, fold and group of every labelled product
work/<name>/extract/ids             whether nearby ids can tell a class
work/<name>/extract/phash/<side>    perceptual hashes of the images
work/<name>/extract/sizes/<side>    height and width of the images

`near_twins` declares embeddings, nearest images and near twins; `openimages.annotations` the tree
of classes, annotations, clusters and boxes; `texts.tables` texts, `attributes.tables` attributes.
"""

import json
import logging
from collections.abc import Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

from lib.config.schema import as_dict
from lib.data.sources.source_files import (
    checked_path,
    checksum_settings,
    has_category_table,
    input_path,
    list_source,
    needs_unpacking,
    read_settings,
    source_kind,
    source_path,
)
from lib.errors import UserError
from lib.pipeline.artifact import Artifact
from lib.pipeline.experiment import Experiment, catalog_inputs, depends_on_test
from lib.pipeline.graph import Graph
from lib.pipeline.predict_target import SHARDS
from lib.runtime.workers import num_threads
from lib.stages.attributes.tables import declare_attributes
from lib.stages.near_twins import declare_near_twins, groups_of_twins, is_alike
from lib.stages.openimages.annotations import (
    declare_annotations,
    declare_boxes,
    is_annotated,
)
from lib.stages.rehearsal.draw import declare_draw, index_name
from lib.stages.tables.images import declare_images, inputs_of_side
from lib.stages.texts.tables import declare_texts

logger = logging.getLogger(__name__)

NAME, SCRIPT, PARALLEL = "extract", "01_extract.py", False


def declare(graph: Graph) -> list[Artifact]:
    """The artifacts of this stage."""
    experiment, split_column = graph.experiment, graph.experiment.config.data.split_column
    if experiment.target is not None:
        _declare_trained(graph)
    declare_scenes(graph)
    if is_annotated(experiment, "train"):
        declare_annotations(graph)
    files = _declare_files(graph)
    declare_images(graph)
    class_file = _class_file(experiment)
    graph.add(
        "extract/categories",
        partial(build_categories, experiment),
        settings={
            **checksum_settings(experiment, class_file),
            **read_settings(experiment, class_file),
        },
        files={name: files[name] for name in files if name == class_file},
        inputs=inputs_of_side(experiment, class_file),
    )
    for side in experiment.sides:
        corrections = _corrections(experiment, side)
        graph.add(
            index_name(experiment, side),
            partial(build_index, experiment, side),
            settings={**checksum_settings(experiment, side), **read_settings(experiment, side)},
            files={
                **{name: files[name] for name in files if name == side},
                **({} if corrections is None else {"corrections": corrections}),
            },
            inputs=["extract/categories", *inputs_of_side(experiment, side)],
            resumable=True,
        )
        if experiment.config.data.draw:
            declare_draw(graph, side)
    declare_texts(graph)
    declare_attributes(graph)
    declare_near_twins(graph)
    declare_boxes(graph)
    graph.add(
        "extract/splits",
        partial(build_splits, experiment),
        settings={
            "split": as_dict(experiment.config.split),
            "group_by": experiment.config.data.group_by,
            **({"split_column": split_column} if split_column else {}),
            "seed": experiment.config.seed,
        },
        inputs=[*catalog_inputs("train"), *(["extract/twins"] if is_alike(experiment) else [])],
    )
    if "extract/ids" not in graph.artifacts:  # of the trained experiment
        graph.add(
            "extract/ids",
            partial(compare_ids, experiment),
            inputs=[f"extract/{side}" for side in _sides_of_ids(experiment)],
        )
    for side in experiment.sides if experiment.config.features.use_phash else ():
        graph.add(
            f"extract/phash/{side}",
            partial(build_perceptual_hashes, experiment, side),
            inputs=catalog_inputs(side),
        )
    for side in experiment.sides if experiment.needs_sizes else ():
        graph.add(
            f"extract/sizes/{side}",
            partial(build_sizes, experiment, side),
            inputs=catalog_inputs(side),
        )
    return list(graph.artifacts.values())


def _declare_trained(graph: Graph) -> None:
    """With `--new`: twins and splits of the trained experiment, which had other test products."""
    trained = Graph(replace(graph.experiment, target=None), frozen=True)
    declare(trained)
    graph.artifacts |= {
        name: artifact for name, artifact in trained.artifacts.items() if not depends_on_test(name)
    }


def declare_scenes(graph: Graph) -> None:
    """The scenes that are added to the labelled images, and those to classify."""
    config = graph.experiment.config
    is_declared = "extract/scenes" in graph.artifacts  # by the trained experiment
    if (config.scenes.num_images or config.scenes.num_test_images) and not is_declared:
        graph.add(
            "extract/scenes",
            partial(build_scenes, graph.experiment),
            settings={"scenes": as_dict(config.scenes), "seed": config.seed},
            files={**config.scenes.picture_files},
        )


def _declare_files(graph: Graph) -> dict[str, Artifact | Path]:
    """The files of the catalog: the user's own, generated ones, or unpacked ones."""
    experiment, config = graph.experiment, graph.experiment.config
    names = [
        name
        for name in (*experiment.sides, _class_file(experiment))
        if not is_annotated(experiment, name)  # its files are those of other artifacts
    ]
    files: dict[str, Artifact | Path] = {n: input_path(experiment, n) for n in names}
    if config.data.source == "sample":
        sample = graph.add(
            "extract/sample",
            partial(build_sample, experiment),
            settings={"sample": as_dict(config.sample, *config.sample.unused), "seed": config.seed},
        )
        generated = [n for n in names if n != "test" or experiment.target is None]
        files |= dict.fromkeys(generated, sample)
    if config.composes_test and experiment.target is None:
        files["test"] = graph.artifacts["extract/scenes"]
    for side in (side for side in experiment.sides if needs_unpacking(experiment, side)):
        files[side] = graph.add(
            f"extract/unpacked/{side}",
            partial(unpack_strokes, experiment, side),
            settings={"classes": config.data.classes} if side == "train" else {},
            files={side: files[side]},
            resumable=True,
        )
    return files


def _corrections(experiment: Experiment, side: str) -> Path | None:
    """The table of corrected labels, if there is one for this side."""
    data = experiment.config.data
    return Path(data.root, data.corrections) if data.corrections and side == "train" else None


def _class_file(experiment: Experiment) -> str:
    """Which file names the categories."""
    return "categories" if has_category_table(experiment) else "train"


def build_sample(experiment: Experiment, folder: Path) -> dict[str, Any]:
    """Generate the sample catalog."""
    from lib.data.synthetic.catalog import generate

    return generate(folder, experiment.config.sample, experiment.config.seed)


def build_scenes(experiment: Experiment, folder: Path) -> dict[str, Any]:
    """Compose scenes in the official layout of Open Images; no stage reads `truth/`."""
    from lib.data.synthetic.scenes.generate import generate

    config = experiment.config
    return generate(folder, config.scenes, config.seed, num_threads(config.run))


def unpack_strokes(experiment: Experiment, side: str, folder: Path) -> dict[str, Any]:
    """Unpack compressed drawings: an image is a byte range of a file."""
    from lib.data.sources.packed_files import unpack

    only = experiment.config.data.classes if side == "train" else ()
    return {"files": unpack(source_path(experiment, side), folder, only)}


def build_categories(experiment: Experiment, folder: Path) -> dict[str, Any]:
    """Number the categories: from their own table, or from the names in `train`."""
    from lib.data.catalog import build_categories as build_from_table
    from lib.data.catalog import build_named_categories
    from lib.data.openimages.cluster_table import read_clusters
    from lib.data.sources.class_names import name_cautions
    from lib.data.sources.text_table import TableFormat

    if has_category_table(experiment):
        form = TableFormat(experiment.config.data.encoding, experiment.config.data.separator)
        return build_from_table(folder, checked_path(experiment, "categories"), form)
    if is_annotated(experiment, "train"):
        labels: Sequence[str] = read_clusters(experiment.path("extract/clusters")).keys
    else:
        labels = list_source(experiment, "train").labels
    for caution in name_cautions(labels):
        logger.warning("%s: %s", source_path(experiment, "train"), caution)
    return build_named_categories(folder, source_path(experiment, "train"), labels)


def build_index(experiment: Experiment, side: str, folder: Path) -> dict[str, Any]:
    """Index the products and images of a side; bad records are counted, listed, passed over."""
    from lib.data.catalog import read_categories
    from lib.data.corrections import correct_labels
    from lib.data.sources.base import index_listing
    from lib.data.sources.bson_file import index_bson

    config = experiment.config
    categories = read_categories(experiment.path("extract/categories"))
    data, threads = config.data, num_threads(config.run)
    options = (side == "train", data.max_bad_fraction, threads, data.max_missing_fraction)
    if source_kind(experiment, side) != "bson":
        listing = list_source(experiment, side)
        facts = index_listing(folder, source_path(experiment, side), listing, categories, *options)
    else:
        facts = index_bson(folder, checked_path(experiment, side), categories, *options)
    corrections = _corrections(experiment, side)
    if corrections is not None:
        facts |= correct_labels(folder, corrections, categories)
    if side == "train" and (corrections or source_kind(experiment, side) == "bson"):
        _check_two_categories(experiment, folder)
    return facts


def _check_two_categories(experiment: Experiment, folder: Path) -> None:
    """The table of a BSON catalog may have categories that no product has; so may corrections."""
    from lib.data.catalog import read_catalog

    path = source_path(experiment, "train")
    label = read_catalog(folder, path).label
    if len(label) and (label == label[0]).all():
        raise UserError(f"{path}: every product has the same category; give at least two")


def build_splits(experiment: Experiment, folder: Path) -> dict[str, Any]:
    """Assign a part and a fold to every labelled product."""
    from lib.data import splits
    from lib.stages.read import catalog_of_side

    catalog, config = catalog_of_side(experiment, "train"), experiment.config
    build = partial(
        splits.build_splits, folder, catalog.product_id, catalog.label, config.split, config.seed
    )
    given = None
    if catalog.split is not None:
        place = f"{source_path(experiment, 'train')}: {config.data.split_column}"
        values, n_folds = catalog.split.to_pylist(), config.split.n_folds
        given = splits.read_given(values, n_folds, place, catalog.key)
    if not is_alike(experiment):
        return build(catalog.group, given)
    try:
        return build(groups_of_twins(experiment), given)
    except UserError as error:
        logger.warning("near twins are not kept together, so figures are too high: %s", error)
        return build(None, given)


def _sides_of_ids(experiment: Experiment) -> tuple[str, ...]:
    """Those of which ids may mix numbers and names; of others, products to classify change none."""
    is_mixed = source_kind(experiment, "train") in ("csv", "strokes", *SHARDS)
    return experiment.sides if is_mixed else ("train",)


def compare_ids(experiment: Experiment, folder: Path) -> dict[str, Any]:
    """Decide whether nearby ids are features: not if they are names, on either side."""
    from lib.features.comparable import count_id_numbers
    from lib.stages.read import index_of_side

    catalogs = [index_of_side(experiment, side) for side in _sides_of_ids(experiment)]
    numbers = count_id_numbers(catalogs[0], catalogs[1] if len(catalogs) > 1 else None)
    facts = {"comparable": numbers.comparable, **asdict(numbers)}
    (folder / "ids.json").write_text(json.dumps(facts) + "\n")
    if numbers.labelled and not numbers.comparable:
        logger.warning(
            "ids are no features: %.1f %% of the labelled products have a number for an id%s",
            100 * numbers.labelled,
            "" if numbers.others is None else f", {numbers.others:.1%} of those to classify",
        )
    return facts


def build_perceptual_hashes(experiment: Experiment, side: str, folder: Path) -> dict[str, Any]:
    """Hash what every image of a side looks like."""
    from lib.data import perceptual_hash
    from lib.stages.read import catalog_of_side

    catalog = catalog_of_side(experiment, side)
    return perceptual_hash.build_perceptual_hashes(
        folder, catalog, num_threads(experiment.config.run)
    )


def build_sizes(experiment: Experiment, side: str, folder: Path) -> dict[str, Any]:
    """Read height and width of every image of a side from the headers of the files."""
    from lib.data.aspect.sizes import write_sizes
    from lib.stages.read import catalog_of_side

    return write_sizes(
        folder, catalog_of_side(experiment, side), num_threads(experiment.config.run)
    )


def check_strict(experiment: Experiment) -> None:
    """Raise UserError if this stage passed over any record or image (`--strict`)."""
    from lib.data import scan_report
    from lib.data.decoding import readable

    for side in experiment.sides if experiment.target is None else ("test",):
        source = source_path(experiment, side)
        if is_annotated(experiment, side):
            scan_report.check_strict(experiment.path(f"extract/annotations/{side}"), source)
        scan_report.check_strict(experiment.path(f"extract/{side}"), source)
        readable.check_strict(experiment.path(f"extract/embeddings/{side}"), source)
