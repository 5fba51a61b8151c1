"""What fills the folders of the chain: each function builds one artifact of `lib.pipeline`.

Rooms are imported inside, when something is built: a call that finds everything fresh loads no
torch and no booster. All return the facts that go into the manifest.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from lib.config import Config
from lib.errors import UserError

if TYPE_CHECKING:
    from lib.catalogue.pictures import Listed
    from lib.catalogue.tables import Catalogue


def source_file(config: Config, side: str) -> Path:
    """Path of `train`, `test` or `categories` of the catalogue."""
    if config.data.source == "sample":
        names = {"train": "train.bson", "test": "test.bson", "categories": "category_names.csv"}
        return config.folder / "extract" / "sample" / names[side]
    return Path(config.data.root) / getattr(config.data, side)


def has_categories(config: Config) -> bool:
    """Whether classes come from a table of their own, not from `train`."""
    return config.data.source in ("bson", "sample")


def digest_setting(config: Config, side: str) -> dict[str, Any]:
    """The part of the manifest that says which digest a file was checked against."""
    name = source_file(config, side).name
    return {"sha256": config.data.sha256[name]} if name in config.data.sha256 else {}


def source_setting(config: Config, *columns: str) -> dict[str, Any]:
    """The part of the manifest that says how a source is read; `columns`: keys of [data]."""
    if has_categories(config):
        return {}
    read = columns if config.data.source == "csv" else ()
    return {"source": config.data.source, **{key: getattr(config.data, key) for key in read}}


def _pictures(config: Config, side: str) -> Path:
    """The file that holds the pictures, or the folder that their names are relative to."""
    source, data = source_file(config, side), config.data
    if data.source == "csv":
        if data.images_root:
            return Path(data.root) / data.images_root
        beside = source.parent / "images"
        return beside if beside.is_dir() else source.parent
    if data.source == "npy" and source.is_file():
        return source.parent
    return source


def _catalogue(config: Config, part: str) -> "Catalogue":
    from lib.catalogue.tables import read_catalogue

    side = "test" if part == "test" else "train"
    return read_catalogue(config.folder / "extract" / side, _pictures(config, side))


def sample(config: Config, folder: Path) -> dict[str, Any]:
    from lib.catalogue.sample import generate

    return generate(folder, config.sample, config.seed)


def classes(config: Config, folder: Path) -> dict[str, Any]:
    from lib.catalogue.classes import build_classes, build_named_classes

    if has_categories(config):
        return build_classes(folder, _verified(config, "categories"))
    return build_named_classes(
        folder, source_file(config, "train"), _listed(config, "train").labels
    )


def index(config: Config, side: str, folder: Path) -> dict[str, Any]:
    from lib import pipeline
    from lib.catalogue.index import index_bson
    from lib.catalogue.pictures import index_listed
    from lib.catalogue.tables import read_classes

    known = read_classes(config.folder / "extract" / "classes")
    labelled, most, jobs = side == "train", config.data.max_damaged, pipeline.threads(config)
    if has_categories(config):
        return index_bson(folder, _verified(config, side), known, labelled, most, jobs)
    listed = _listed(config, side)
    return index_listed(folder, source_file(config, side), listed, known, labelled, most, jobs)


def _listed(config: Config, side: str) -> "Listed":
    """What a source of many files lists."""
    from lib.catalogue import arrays, listing

    source, labelled = _verified(config, side), side == "train"
    if config.data.source == "csv":
        return listing.list_csv(source, _pictures(config, side), config.data, labelled)
    if config.data.source == "folders":
        return listing.list_folder(source, labelled)
    return arrays.list_arrays(source, labelled)


def _verified(config: Config, side: str) -> Path:
    """The original file or folder; raises UserError if it is not the kind that it should be."""
    from lib.catalogue.digests import verify

    source, kind = source_file(config, side), config.data.source
    if source.is_dir() and kind not in ("folders", "npy"):
        raise UserError(f"{source}: a folder; with data.source = {kind} it must be a file")
    if source.is_file():
        verify(source, config.data.sha256)
    return source


def stop_if_strict(config: Config) -> None:
    """Raise UserError if stage 01 passed anything over."""
    from lib.catalogue.faults import stop_if_strict

    for side in config.sides:
        stop_if_strict(config.folder / "extract" / side, source_file(config, side))


def splits(config: Config, folder: Path) -> dict[str, Any]:
    from lib.catalogue.splits import build_splits

    known = _catalogue(config, "train")
    return build_splits(
        folder, known.product_id, known.label, config.split, config.seed, known.group
    )


def cnn(config: Config, name: str, net: str, folder: Path) -> dict[str, Any]:
    from lib.vision.stage import build_net

    return build_net(config, name, net, _catalogue(config, "train"), folder)


def predictions(config: Config, name: str, part: str, folder: Path) -> dict[str, Any]:
    from lib.vision.stage import build_predictions

    return build_predictions(config, name, part, _catalogue(config, part), folder)


def candidates(config: Config, part: str, folder: Path) -> dict[str, Any]:
    from lib.ranking.stage import build_candidates

    labelled, query = _catalogue(config, "train"), _catalogue(config, part)
    return build_candidates(config, part, labelled, query, folder)


def source(config: Config, source: str, part: str, folder: Path) -> dict[str, Any]:
    from lib.ranking.stage import build_source

    return build_source(config, source, part, _catalogue(config, part), folder)


def booster(config: Config, source: str, layer: str, booster: str, folder: Path) -> dict[str, Any]:
    from lib.ranking.stage import build_booster

    return build_booster(config, source, layer, booster, folder)


def scores(config: Config, source: str, layer: str, part: str, folder: Path) -> dict[str, Any]:
    from lib.ranking.stage import build_scores

    return build_scores(config, source, layer, part, folder)


def blend(config: Config, folder: Path) -> dict[str, Any]:
    from lib.ranking.stage import build_blend

    return build_blend(config, folder)


def submission(config: Config, folder: Path) -> dict[str, Any]:
    from lib.final import build_submission

    query = _catalogue(config, "test") if config.data.test else None
    return build_submission(config, _catalogue(config, "train"), query, folder)
