"""What fills the folders of the chain: each function builds one artifact of `lib.pipeline`.

Rooms are imported inside, when something is built: a call that finds everything fresh loads no
torch and no booster. All return the facts that go into the manifest.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from lib.config.schema import Config
from lib.errors import UserError

if TYPE_CHECKING:
    from lib.data.catalog import Catalog
    from lib.data.sources.base import Listing


def source_kind(config: Config, side: str) -> str:
    """What `train` or `test` is, as in `data.source`; a drawn catalogue is of BSON files."""
    if side == "test" and config.asked is not None:
        return config.asked.source
    return "bson" if config.data.source == "sample" else config.data.source


def source_file(config: Config, side: str) -> Path:
    """Path of `train`, `test` or `categories` of the catalogue; with `--new` its file is `test`."""
    if side == "test" and config.asked is not None:
        return Path(config.asked.path)
    if config.data.source == "sample":
        names = {"train": "train.bson", "test": "test.bson", "categories": "category_names.csv"}
        return config.at("extract/sample") / names[side]
    return Path(config.data.root) / getattr(config.data, side)


def has_categories(config: Config) -> bool:
    """Whether classes come from a table of their own, not from `train`."""
    return source_kind(config, "train") == "bson"


def digest_setting(config: Config, side: str) -> dict[str, Any]:
    """The part of the manifest that says which digest a file was checked against."""
    name, published = source_file(config, side).name, _published(config, side)
    return {"sha256": published[name]} if name in published else {}


def _published(config: Config, side: str) -> dict[str, str]:
    """Digests by file name; those of the config are not about another file of the same name."""
    return {} if side == "test" and config.asked is not None else config.data.sha256


def source_setting(config: Config, side: str, *columns: str) -> dict[str, Any]:
    """The part of the manifest that says how a source is read; `columns`: keys of [data]."""
    kind = source_kind(config, side)
    if kind == "bson":
        return {}
    chosen = ("classes", "max_per_class") if side == "train" else ()
    read = {"csv": columns, "npy": chosen, "strokes": (*chosen, "bitmap_size")}.get(kind, ())
    return {"source": kind, **{key: getattr(config.data, key) for key in read}}


def packed(config: Config, side: str) -> bool:
    """Whether its files have to be unpacked before they are read; or were, once."""
    from lib.data.sources import quickdraw

    if source_kind(config, side) != "strokes":
        return False
    unpacked = config.at(f"extract/unpacked/{side}")
    return unpacked.is_dir() or bool(quickdraw.list_packed(source_file(config, side)))


def _lying(config: Config, side: str) -> Path:
    """The original file or folder, or what was unpacked from it."""
    source = source_file(config, side)
    if not packed(config, side):
        return source
    folder = config.at(f"extract/unpacked/{side}")
    return folder / source.name.removesuffix(".gz") if source.suffix == ".gz" else folder


def _pictures(config: Config, side: str) -> Path:
    """The file that holds the pictures, or the folder that their names are relative to."""
    source, kind, data = source_file(config, side), source_kind(config, side), config.data
    if kind == "csv":
        of_new = source.parent / data.images_root  # pictures may have come with a new table
        if data.images_root and side == "test" and config.asked is not None and of_new.is_dir():
            return of_new
        if data.images_root:
            return Path(data.root) / data.images_root
        beside = source.parent / "images"
        return beside if beside.is_dir() else source.parent
    if kind == "strokes":
        source = _lying(config, side)
    if kind in ("npy", "strokes") and not source.is_dir():
        return source.parent
    return source


def catalogue(config: Config, part: str) -> "Catalog":
    from lib.data.catalog import read_catalog

    side = "test" if part == "test" else "train"
    return read_catalog(config.at(f"extract/{side}"), _pictures(config, side))


def sample(config: Config, folder: Path) -> dict[str, Any]:
    from lib.data.synthetic.catalog import generate

    return generate(folder, config.sample, config.seed)


def unpacked(config: Config, side: str, folder: Path) -> dict[str, Any]:
    from lib.data.sources.quickdraw import unpack

    only = config.data.classes if side == "train" else ()
    return {"files": unpack(source_file(config, side), folder, only)}


def classes(config: Config, folder: Path) -> dict[str, Any]:
    from lib.data.catalog import build_categories, build_named_categories

    if has_categories(config):
        return build_categories(folder, _verified(config, "categories"))
    return build_named_categories(
        folder, source_file(config, "train"), _listed(config, "train").labels
    )


def index(config: Config, side: str, folder: Path) -> dict[str, Any]:
    from lib import pipeline
    from lib.data.catalog import read_categories
    from lib.data.sources.base import index_listing
    from lib.data.sources.bson_file import index_bson

    known = read_categories(config.at("extract/classes"))
    labelled, most, jobs = side == "train", config.data.max_bad_fraction, pipeline.threads(config)
    if source_kind(config, side) == "bson":
        return index_bson(folder, _verified(config, side), known, labelled, most, jobs)
    listed = _listed(config, side)
    return index_listing(folder, source_file(config, side), listed, known, labelled, most, jobs)


def _listed(config: Config, side: str) -> "Listing":
    """What a source of many files lists."""
    from lib.data.sources import csv_table, image_folder, numpy_arrays, quickdraw

    source, labelled, data = _verified(config, side), side == "train", config.data
    kind = source_kind(config, side)
    if kind == "csv":
        return csv_table.list_csv(source, labelled, _pictures(config, side), data)
    if kind == "folders":
        return image_folder.list_folder(source, labelled)
    chosen = (data.classes, data.max_per_class) if labelled else ((), 0)
    if kind == "strokes":
        return quickdraw.list_strokes(source, labelled, data.bitmap_size, *chosen)
    return numpy_arrays.list_arrays(source, labelled, *chosen)


def _verified(config: Config, side: str) -> Path:
    """The original file or folder; raises UserError if it is not the kind that it should be."""
    from lib.data.checksum import verify_checksum

    source, kind = source_file(config, side), source_kind(config, side)
    if source.is_dir() and kind not in ("folders", "npy", "strokes"):
        raise UserError(f"{source}: a folder; with data.source = {kind} it must be a file")
    if source.is_file():
        verify_checksum(source, _published(config, side))
    return _lying(config, side)


def stop_if_strict(config: Config) -> None:
    """Raise UserError if stage 01 passed anything over."""
    from lib.data.scan_report import check_strict

    for side in config.sides if config.asked is None else ["test"]:
        check_strict(config.at(f"extract/{side}"), source_file(config, side))


def splits(config: Config, folder: Path) -> dict[str, Any]:
    from lib.data.splits import build_splits

    known = catalogue(config, "train")
    return build_splits(
        folder, known.product_id, known.label, config.split, config.seed, known.group
    )


def alike(config: Config, side: str, folder: Path) -> dict[str, Any]:
    from lib import pipeline
    from lib.data.perceptual_hash import build_perceptual_hashes

    return build_perceptual_hashes(folder, catalogue(config, side), pipeline.threads(config))


def cnn(config: Config, name: str, net: str, folder: Path) -> dict[str, Any]:
    from lib import rounds
    from lib.stages.vision_stage import build_net

    known, extra = catalogue(config, "train"), None
    if config.before is not None:
        test = catalogue(config, "test")
        extra = rounds.extra(config, config.models[name], net, known, test)
    return build_net(config, name, net, known, folder, extra)


def pseudo(config: Config, folds: int, net: str, folder: Path) -> dict[str, Any]:
    from lib import rounds

    known, test = catalogue(config, "train"), catalogue(config, "test")
    return rounds.build_pseudo(config, folds, net, known, test, folder)


def predictions(config: Config, name: str, part: str, folder: Path) -> dict[str, Any]:
    from lib.stages.vision_stage import build_predictions

    return build_predictions(config, name, part, catalogue(config, part), folder)


def embeddings(config: Config, name: str, net: str, side: str, folder: Path) -> dict[str, Any]:
    from lib.stages.vision_stage import build_embeddings

    return build_embeddings(config, name, net, side, catalogue(config, side), folder)


def fusion(config: Config, name: str, net: str, folder: Path) -> dict[str, Any]:
    from lib.stages.fused_stage import build_fusion

    return build_fusion(config, name, net, catalogue(config, "train"), folder)


def fused(config: Config, name: str, part: str, folder: Path) -> dict[str, Any]:
    from lib.stages.fused_stage import build_fused

    return build_fused(config, name, part, catalogue(config, part), folder)


def candidates(config: Config, part: str, folder: Path) -> dict[str, Any]:
    from lib.stages.ranking_stage import build_candidates

    labelled, query = catalogue(config, "train"), catalogue(config, part)
    return build_candidates(config, part, labelled, query, folder)


def neighbours(config: Config, part: str, folder: Path) -> dict[str, Any]:
    from lib.stages.ranking_stage import build_neighbours

    labelled, query = catalogue(config, "train"), catalogue(config, part)
    return build_neighbours(config, part, labelled, query, folder)


def source(config: Config, source: str, part: str, folder: Path) -> dict[str, Any]:
    from lib.stages.ranking_stage import build_source

    return build_source(config, source, part, catalogue(config, part), folder)


def booster(config: Config, source: str, layer: str, booster: str, folder: Path) -> dict[str, Any]:
    from lib.stages.ranking_stage import build_booster

    return build_booster(config, source, layer, booster, folder)


def scores(config: Config, source: str, layer: str, part: str, folder: Path) -> dict[str, Any]:
    from lib.stages.ranking_stage import build_scores

    return build_scores(config, source, layer, part, folder)


def blend(config: Config, folder: Path) -> dict[str, Any]:
    from lib.stages.ranking_stage import build_blend

    return build_blend(config, folder)


def calibration(config: Config, folder: Path) -> dict[str, Any]:
    from lib.stages.ranking_stage import build_calibration

    return build_calibration(config, folder, catalogue(config, "train").group)


def submission(config: Config, folder: Path) -> dict[str, Any]:
    from lib.final import build_submission

    query = catalogue(config, "test") if config.has_test else None
    return build_submission(config, catalogue(config, "train"), query, folder)


def answers(config: Config, folder: Path) -> dict[str, Any]:
    from lib.final import build_answers

    return build_answers(config, catalogue(config, "train"), catalogue(config, "test"), folder)
