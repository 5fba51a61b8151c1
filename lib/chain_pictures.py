"""Stages 01 to 03: the index, the networks, and what they say and see of every picture."""

from functools import partial
from pathlib import Path
from typing import Any

from lib import fill
from lib.artifacts import Artifact
from lib.chain import Chain, taught, weights_file
from lib.config.schema import Model, nets, plain

# The settings of a csv that its classes and its index depend on.
TABLE = ("id_column", "images_column", "images_root")
READ: dict[str, tuple[str, ...]] = {"train": (*TABLE, "label_column", "group_by"), "test": TABLE}


def extract(chain: Chain) -> list[Artifact]:
    config = chain.config
    made = []
    of_classes = "categories" if fill.has_categories(config) else "train"
    files: dict[str, Artifact | Path]
    if config.data.source == "sample":
        sample = chain.add(
            "extract/sample",
            partial(fill.sample, config),
            config={"sample": plain(config.sample), "seed": config.seed},
        )
        made.append(sample)
        files = dict.fromkeys((*config.sides, of_classes), sample)
        if config.asked is not None:
            files["test"] = fill.source_file(config, "test")
    else:
        files = {side: fill.source_file(config, side) for side in (*config.sides, of_classes)}
    for side in (one for one in config.sides if fill.packed(config, one)):
        unpacked = chain.add(
            f"extract/unpacked/{side}",
            partial(fill.unpacked, config, side),
            config={"classes": config.data.classes} if side == "train" else {},
            inputs={side: files[side]},
            resumable=True,
        )
        files[side] = unpacked
        made.append(unpacked)
    made.append(
        chain.add(
            "extract/classes",
            partial(fill.classes, config),
            config={
                **fill.digest_setting(config, of_classes),
                **fill.source_setting(config, "train", *READ["train"]),
            },
            inputs={of_classes: files[of_classes]},
        )
    )
    for side in config.sides:
        made.append(
            chain.add(
                f"extract/{side}",
                partial(fill.index, config, side),
                config={
                    **fill.digest_setting(config, side),
                    **fill.source_setting(config, side, *READ[side]),
                },
                inputs={side: files[side], **chain.inputs("extract/classes")},
                resumable=True,
            )
        )
    made.append(
        chain.add(
            "extract/splits",
            partial(fill.splits, config),
            config={"split": plain(config.split), "seed": config.seed},
            inputs=chain.inputs("extract/train"),
        )
    )
    for side in config.sides if config.features.use_phash else ():
        made.append(
            chain.add(
                f"extract/alike/{side}",
                partial(fill.alike, config, side),
                inputs=chain.inputs(f"extract/{side}"),
            )
        )
    return made


def train(chain: Chain) -> list[Artifact]:
    """The networks that see pictures."""
    known = chain.inputs("extract/train", "extract/classes", "extract/splits")
    made = []
    for name, model in _networks(chain):
        for net in nets(model):
            more: dict[str, Artifact | Path] = dict(weights_file(model))
            if chain.config.before:
                more |= chain.inputs(f"pseudo/{taught(chain.config, model, net)}")
            made.append(_net(chain, name, net, fill.cnn, {**known, **more}))
    return made


def _networks(chain: Chain) -> list[tuple[str, Model]]:
    """The models that see pictures, one by one or as mosaics."""
    models = chain.config.models.items()
    return [(name, model) for name, model in models if model.input != "embedding"]


def _net(
    chain: Chain, name: str, net: str, build: Any, inputs: dict[str, Artifact | Path]
) -> Artifact:
    model = chain.config.models[name]
    foreign = () if model.input == "mosaic" else ("mosaic",)
    return chain.add(
        f"cnn/{name}/{net}",
        partial(build, chain.config, name, net),
        config={
            "train": plain(model, "blend_weight", "checkpoint", *foreign),
            "seed": chain.config.seed,
            **({"weight": chain.config.pseudo_label.loss_weight} if chain.config.before else {}),
        },
        inputs=inputs,
        resumable=True,
    )


def predict(chain: Chain) -> list[Artifact]:
    dumps = [
        _dump(chain, name, part, fill.predictions, [])
        for name, _ in _networks(chain)
        for part in chain.parts
    ]
    return [*dumps, *_embeddings(chain), *_fusions(chain)]


def _dump(chain: Chain, name: str, part: str, build: Any, seen: list[str]) -> Artifact:
    model = chain.config.models[name]
    return chain.add(
        f"predictions/{name}/{part}",
        partial(build, chain.config, name, part),
        config={
            "predict": plain(chain.config.predict, "shard_size", "embed_models", "embedding_dim"),
            "checkpoint": model.checkpoint,
        },
        inputs=chain.inputs(
            chain.query(part),
            "extract/splits",
            *(f"cnn/{name}/{net}" for net in nets(model)),
            *seen,
        ),
        resumable=True,
    )


def _embeddings(chain: Chain) -> list[Artifact]:
    """Of every picture: what neighbours are sought with, and what fusions read."""
    config = chain.config
    made = []
    for side in config.sides:
        for name in config.embedded:
            kept: dict[str, Any] = {
                "dims": config.predict.embedding_dim,
                "whole": name in config.fused,
            }
            trained = config.models.get(name)
            for net in config.nets_of(name):
                source: dict[str, Artifact | Path] = {}
                if trained:
                    source = chain.inputs(f"cnn/{name}/{net}")
                    kept |= {"checkpoint": trained.checkpoint}
                else:
                    source = weights_file(config.backbones[name])
                    kept |= {"backbone": plain(config.backbones[name])}
                space = [f"embeddings/{name}/{net}/train"] if side == "test" else []
                made.append(
                    chain.add(
                        f"embeddings/{name}/{net}/{side}",
                        partial(fill.embeddings, config, name, net, side),
                        config=kept,
                        inputs={**source, **chain.inputs(f"extract/{side}", *space)},
                        resumable=True,
                    )
                )
    return made


def _fusions(chain: Chain) -> list[Artifact]:
    """Networks on embeddings, and what they say of the pictures."""
    made = []
    known = chain.inputs("extract/train", "extract/classes", "extract/splits")
    for name, model in chain.config.models.items():
        if model.input != "embedding":
            continue
        for net in nets(model):
            read = chain.inputs(*_read(chain, model, net, "train"))
            made.append(_net(chain, name, net, fill.fusion, {**known, **read}))
        for part in chain.parts:
            side = "test" if part == "test" else "train"
            seen = [read for net in nets(model) for read in _read(chain, model, net, side)]
            made.append(_dump(chain, name, part, fill.fused, list(dict.fromkeys(seen))))
    return made


def _read(chain: Chain, model: Model, net: str, side: str) -> list[str]:
    """The embeddings that one network of a fusion reads."""
    of = chain.config.nets_of
    return [
        f"embeddings/{name}/{net if name in chain.config.models else of(name)[0]}/{side}"
        for name in model.fusion.inputs
    ]
