"""What fills the folders of the chain: each function builds one artifact of `lib.pipeline`.

Rooms are imported inside, when something is built: a call that finds everything fresh loads no
torch and no booster. All return the facts that go into the manifest.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from lib.config import Config

if TYPE_CHECKING:
    from lib.catalogue.tables import Catalogue


def source_file(config: Config, side: str) -> Path:
    """Path of `train`, `test` or `categories` of the catalogue."""
    if config.data.source == "sample":
        names = {"train": "train.bson", "test": "test.bson", "categories": "category_names.csv"}
        return config.folder / "extract" / "sample" / names[side]
    return Path(config.data.root) / getattr(config.data, side)


def digest_setting(config: Config, side: str) -> dict[str, Any]:
    """The part of the manifest that says which digest a file was checked against."""
    name = source_file(config, side).name
    return {"sha256": config.data.sha256[name]} if name in config.data.sha256 else {}


def _catalogue(config: Config, part: str) -> "Catalogue":
    from lib.catalogue.tables import read_catalogue

    side = "test" if part == "test" else "train"
    return read_catalogue(config.folder / "extract" / side, source_file(config, side))


def sample(config: Config, folder: Path) -> dict[str, Any]:
    from lib.catalogue.sample import generate

    return generate(folder, config.sample, config.seed)


def classes(config: Config, folder: Path) -> dict[str, Any]:
    from lib.catalogue.classes import build_classes
    from lib.catalogue.digests import verify

    source = source_file(config, "categories")
    verify(source, config.data.sha256)
    return build_classes(folder, source)


def index(config: Config, side: str, folder: Path) -> dict[str, Any]:
    from lib import pipeline
    from lib.catalogue.digests import verify
    from lib.catalogue.index import index_bson
    from lib.catalogue.tables import read_classes

    source = source_file(config, side)
    verify(source, config.data.sha256)
    return index_bson(
        folder,
        source,
        read_classes(config.folder / "extract" / "classes"),
        labelled=side == "train",
        most_damaged=config.data.max_damaged,
        jobs=pipeline.threads(config),
    )


def stop_if_strict(config: Config) -> None:
    """Raise UserError if stage 01 passed anything over."""
    from lib.catalogue.index import stop_if_strict

    for side in ("train", "test"):
        stop_if_strict(config.folder / "extract" / side, source_file(config, side))


def splits(config: Config, folder: Path) -> dict[str, Any]:
    from lib.catalogue.splits import build_splits

    known = _catalogue(config, "train")
    return build_splits(folder, known.product_id, known.label, config.split, config.seed)


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

    labelled, query = _catalogue(config, "train"), _catalogue(config, "test")
    return build_submission(config, labelled, query, folder)
