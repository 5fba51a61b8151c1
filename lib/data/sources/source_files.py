"""Where the files of a catalog lie, of what kind they are, and which settings say how to read them.

"train" and "test" are the two sides of a catalog; "categories" is the table of categories of a BSON
catalog. With `--new PATH`, PATH is the test side, and may be of another kind than the train side.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from lib.config.data import Data
from lib.config.scenes import DESCRIPTIONS_FILE, HIERARCHY_FILE
from lib.data.sources.packed_files import PACKED_SUFFIX, list_packed
from lib.errors import UserError
from lib.pipeline.experiment import Experiment
from lib.pipeline.predict_target import SHARDS
from lib.pipeline.shards import list_shards, root_of_shards

if TYPE_CHECKING:
    from lib.data.openimages.annotation_files import AnnotationFiles
    from lib.data.sources.base import Listing

EXPECTED = {
    "bson": "a BSON file",
    "csv": "a CSV table",
    "npy": "a numpy array",
    "strokes": "drawings (ndjson)",
    "openimages": "a table of boxes",
    "webdataset": "a WebDataset tar",
    "parquet": "a Parquet or Arrow table",
}
FOLDERS = ("folders", "npy", "strokes", "openimages", *SHARDS)  # kinds whose path may be a folder
SHARD_SUFFIXES = {
    "webdataset": (".tar",),
    "parquet": (".parquet", ".pq", ".arrow", ".feather"),
}  # of the files in such a folder
WELCOME = {"npy": "a numpy array"}
SAMPLE_FILES = {"train": "train.bson", "test": "test.bson", "categories": "category_names.csv"}
# Keys of [data] that decide how each kind of source is read: for both sides, and for train alone.
BOTH_KEYS = {
    "csv": (
        "id_column",
        "images_column",
        "images_root",
        "image_separator",
        "separator",
        "encoding",
    ),
    "strokes": ("bitmap_size",),
    "openimages": ("images_root",),
    "webdataset": ("id_column", "images_column"),
    "parquet": ("id_column", "images_column", "images_root", "image_separator"),
}
TRAIN_KEYS = {
    "csv": ("label_column", "group_column"),
    "webdataset": ("label_column", "group_column", "split_column"),
    "parquet": ("label_column", "group_column", "split_column"),
    "npy": ("classes", "max_per_class"),
    "strokes": ("classes", "max_per_class"),
}


def source_kind(experiment: Experiment, side: str) -> str:
    """The kind of a side, as in `data.source`; the generated sample catalog is "bson"."""
    if _is_target(experiment, side):
        assert experiment.target is not None
        return experiment.target.source
    kind = experiment.config.data.source
    if kind == "openimages" and side == "test":
        return "openimages" if _has_tables(source_path(experiment, side)) else "folders"
    return "bson" if kind == "sample" else kind


def source_path(experiment: Experiment, side: str) -> Path:
    """The user's file or folder of "train", "test" or "categories"."""
    if _is_target(experiment, side):
        assert experiment.target is not None
        return experiment.target.path
    data = experiment.config.data
    if data.source == "sample":
        return experiment.path("extract/sample") / SAMPLE_FILES[side]
    if side == "test" and experiment.config.composes_test:
        return experiment.path("extract/scenes") / "test"
    if side == "train" and experiment.config.composes_train and not data.train:
        return experiment.path("extract/scenes")
    return Path(data.root) / getattr(data, side)


def input_path(experiment: Experiment, side: str) -> Path:
    """What a change of a side is noticed by: of a folder of shards, a pattern of its files."""
    path, kind = source_path(experiment, side), source_kind(experiment, side)
    if side == "categories" or kind not in SHARDS or not path.is_dir():
        return path
    suffixes = ",".join(SHARD_SUFFIXES[kind])
    return path / "**" / (f"*{{{suffixes}}}" if "," in suffixes else f"*{suffixes}")


def data_of_side(experiment: Experiment, side: str) -> Data:
    """The settings by which a side is read; new products may be of another kind than train."""
    data = experiment.config.data
    return data.of_kind(source_kind(experiment, side)) if _is_target(experiment, side) else data


def has_category_table(experiment: Experiment) -> bool:
    """Whether the categories come from a table of their own, not from `train`."""
    return source_kind(experiment, "train") == "bson"


def checksum_settings(experiment: Experiment, side: str) -> dict[str, Any]:
    """The part of a manifest that says which SHA-256 a file was checked against."""
    name, published = source_path(experiment, side).name, _published(experiment, side)
    return {"sha256": published[name]} if name in published else {}


def read_settings(experiment: Experiment, side: str) -> dict[str, Any]:
    """The part of a manifest that says how a side is read."""
    kind, data = source_kind(experiment, side), data_of_side(experiment, side)
    if side == "categories":
        return {"separator": data.separator, "encoding": data.encoding}
    if kind == "bson":
        return {}
    keys: tuple[str, ...] = BOTH_KEYS.get(kind, ()) + (
        TRAIN_KEYS.get(kind, ()) if side == "train" else ()
    )
    if kind == "csv" and side == "train" and data.split_column:  # older runs know no such key
        keys += ("split_column",)
    return {"source": kind, **{key: getattr(data, key) for key in keys}}


def text_paths(experiment: Experiment, side: str) -> dict[str, Path]:
    """The tables that may have the texts of a side: the side itself if it is a table, and
    `data.train_texts` or `data.test_texts`."""
    data = experiment.config.data
    named = data.train_texts if side == "train" else data.test_texts
    is_table = source_kind(experiment, side) == "csv"
    return {
        **({side: source_path(experiment, side)} if is_table else {}),
        **({f"{side}_texts": Path(data.root) / named} if named else {}),
    }


def needs_unpacking(experiment: Experiment, side: str) -> bool:
    """Whether the files of a side are compressed, or have been unpacked by an earlier call."""
    if source_kind(experiment, side) != "strokes":
        return False
    unpacked = unpacked_folder(experiment, side)
    return unpacked.is_dir() or bool(list_packed(source_path(experiment, side)))


def unpacked_folder(experiment: Experiment, side: str) -> Path:
    """Where the files of a side are unpacked, if need be."""
    return experiment.path(f"extract/unpacked/{side}")


def image_path(experiment: Experiment, side: str) -> Path:
    """The file that holds the images, or the folder that their names are relative to."""
    path, kind = source_path(experiment, side), source_kind(experiment, side)
    if kind == "parquet" and any(unpacked_folder(experiment, side).glob("*.images")):
        return unpacked_folder(experiment, side)
    if kind in ("csv", "parquet"):
        return _csv_image_root(experiment, side, path)
    if kind == "strokes":
        path = _unpacked_path(experiment, side)
    if kind == "openimages":
        images_root = experiment.config.data.images_root
        beside = path.parent if path.suffix.lower() == ".csv" else path
        return Path(experiment.config.data.root) / images_root if images_root else beside
    if kind in SHARDS:
        return root_of_shards(path)
    if kind in FOLDERS and not path.is_dir():
        return path.parent
    return path


def checked_path(experiment: Experiment, side: str) -> Path:
    """The file or folder to read, unpacked if need be.

    Raises UserError if it is a folder and should be a file, or has another checksum than published.
    """
    from lib.data.checksum import verify_checksum
    from lib.data.sources.file_kind import GZIP, check_kind

    path, kind = source_path(experiment, side), source_kind(experiment, side)
    if path.is_dir() and kind not in FOLDERS:
        raise UserError(f"{path}: a folder; with data.source = {kind} it must be a file")
    if path.is_file():
        if kind != "folders":  # a single image
            what = "a CSV table" if side == "categories" else EXPECTED[kind]
            packed = kind == "strokes" and path.name.lower().endswith(PACKED_SUFFIX)
            check_kind(path, what, GZIP if packed else WELCOME.get(kind, ""))
        verify_checksum(path, _published(experiment, side))
    return _unpacked_path(experiment, side)


def shards_of(path: Path, kind: str) -> list[Path]:
    """The files that a path of such a kind stands for. Raises UserError if there are none."""
    return list_shards(path, SHARD_SUFFIXES[kind])


def checked_shards(experiment: Experiment, side: str) -> list[Path]:
    """The files of a side that may be several. Raises UserError as `checked_path`."""
    from lib.data.checksum import verify_checksum

    kind = source_kind(experiment, side)
    paths = shards_of(source_path(experiment, side), kind)
    for path in paths:
        verify_checksum(path, _published(experiment, side))
    return paths


def list_source(experiment: Experiment, side: str) -> "Listing":
    """The products and images of a source of many files. Raises UserError as its reader does."""
    from lib.data.sources import csv_table, image_folder, numpy_arrays, quickdraw
    from lib.data.sources.parquet.listing import list_rows
    from lib.data.sources.webdataset.listing import list_samples

    kind, data, labelled = (
        source_kind(experiment, side),
        data_of_side(experiment, side),
        side == "train",
    )
    if kind == "openimages":
        return list_images(experiment, side)
    if kind in SHARDS:
        path, root = source_path(experiment, side), image_path(experiment, side)
        paths = checked_shards(experiment, side)
        if kind == "webdataset":
            return list_samples(path, paths, root, labelled, data)
        unpacked = unpacked_folder(experiment, side)
        return list_rows(path, paths, unpacked, labelled, root, data)
    path = checked_path(experiment, side)
    if kind == "csv":
        return csv_table.list_csv(path, labelled, image_path(experiment, side), data)
    if kind == "folders":
        return image_folder.list_folder(path, labelled)
    selection = (data.classes, data.max_per_class) if labelled else ((), 0)
    if kind == "strokes":
        return quickdraw.list_strokes(path, labelled, data.bitmap_size, *selection)
    return numpy_arrays.list_arrays(path, labelled, *selection)


def list_images(experiment: Experiment, side: str) -> "Listing":
    """The images of tables of boxes, which stage 01 has read; in train, those of a cluster."""
    from lib.data.openimages.annotations import read_annotations
    from lib.data.openimages.cluster_table import read_clusters
    from lib.data.openimages.hierarchy import read_hierarchy
    from lib.data.openimages.listing import list_annotated

    labels = None
    annotations = read_annotations(experiment.path(f"extract/annotations/{side}"))
    if side == "train":
        table = read_clusters(experiment.path("extract/clusters"))
        hierarchy = read_hierarchy(experiment.path("extract/hierarchy"))
        clusters = table.of_images(annotations, hierarchy, experiment.config.clusters)
        labels = [table.keys[cluster] if cluster >= 0 else "" for cluster in clusters.tolist()]
    root, scenes = image_path(experiment, side), experiment.path("extract/scenes")
    return list_annotated(annotations, root, scenes, labels)


def annotation_files(experiment: Experiment, side: str) -> "AnnotationFiles":
    """The tables of a side of openimages, and the folders of its images.

    Raises UserError if there is no table.
    """
    from lib.data.openimages.annotation_files import BOX_TABLES, AnnotationFiles, find_tables

    path, root = source_path(experiment, side), image_path(experiment, side)
    if side == "test" or not experiment.config.composes_train:
        boxes, labels = find_tables(path)
        if not boxes:
            raise UserError(f"{path}: no table {BOX_TABLES} in it; set data.{side}")
        return AnnotationFiles(boxes, labels, root)
    scenes = experiment.path("extract/scenes")
    boxes, labels = find_tables(path) if experiment.config.data.train else ([], [])
    return AnnotationFiles(boxes, labels, root, scenes)


def hierarchy_files(experiment: Experiment) -> tuple[Path, Path]:
    """The tree of the classes and their names: of the composed scenes, if there are any."""
    data = experiment.config.data
    root = Path(data.root)
    if experiment.config.composes_train:
        scenes = experiment.path("extract/scenes")
        return scenes / HIERARCHY_FILE, scenes / DESCRIPTIONS_FILE
    return root / data.hierarchy, root / data.class_descriptions


def _has_tables(path: Path) -> bool:
    """Whether a path is a table of boxes, or a folder of them."""
    return path.suffix.lower() == ".csv" or any(path.glob("*annotations-bbox.csv"))


def _is_target(experiment: Experiment, side: str) -> bool:
    return side == "test" and experiment.target is not None


def _published(experiment: Experiment, side: str) -> dict[str, str]:
    """Checksums by file name; a file of `--new` may have the name of another file."""
    return {} if _is_target(experiment, side) else experiment.config.data.sha256


def _unpacked_path(experiment: Experiment, side: str) -> Path:
    path = source_path(experiment, side)
    if not needs_unpacking(experiment, side):
        return path
    folder = unpacked_folder(experiment, side)
    return folder / path.name[: -len(".gz")] if path.suffix.lower() == ".gz" else folder


def _csv_image_root(experiment: Experiment, side: str, path: Path) -> Path:
    data = experiment.config.data
    if data.images_root:
        beside_target = root_of_shards(path) / data.images_root
        if _is_target(experiment, side) and beside_target.is_dir():
            return beside_target  # the images came with the new table
        return Path(data.root) / data.images_root
    beside = root_of_shards(path)
    images = beside / "images"
    return images if images.is_dir() else beside
