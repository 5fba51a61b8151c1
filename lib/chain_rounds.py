"""Stage 02 of a second round: which of the round before labels what this one learns from (C15)."""

from dataclasses import replace
from functools import partial
from pathlib import Path

from lib import chain_pictures, fill
from lib.artifacts import Artifact
from lib.chain import Chain, taught
from lib.config.schema import Config, Model, nets, plain
from lib.errors import UserError


def teachers(config: Config, folds: int) -> list[str]:
    """The models of the round before that may label for networks which leave out these folds."""
    assert config.before is not None
    models = config.before.models.items()
    if config.stack_part == "holdout":
        return [name for name, _ in models]
    found = [name for name, model in models if model.n_folds == folds and model.input == "image"]
    if not found:
        raise UserError(
            f"pseudo_label.teacher = {config.pseudo_label.teacher}: no network there has"
            f" folds = {folds}, so none may label"
            f" for one that leaves out one of {folds} folds"
        )
    return found


def labels(chain: Chain) -> list[Artifact]:
    """The labels that the networks of this round learn from, after the artifacts of the round
    before, which are settled; none in a first round."""
    config = chain.config
    if config.before is None:
        return []
    _check(config, config.before)
    before = _settled(config.before)
    own = chain if config.asked is None else Chain(replace(config, asked=None))
    if own is not chain:
        chain_pictures.extract(own)
    test = own.made["extract/test"]
    made = list(before.values())
    if own is not chain:
        test = _as_settled(test)
        made.append(test)
    for model in config.models.values():
        for net in nets(model):
            name = f"pseudo/{taught(config, model, net)}"
            if model.input != "image" or name in chain.made:
                continue
            seen: dict[str, Artifact | Path] = {
                f"before/{one}": before[one] for one in _seen(config, model, net)
            }
            made.append(
                chain.add(
                    name,
                    partial(fill.pseudo, config, model.n_folds, net),
                    config={"pseudo_label": plain(config.pseudo_label, "teacher", "loss_weight")},
                    inputs={
                        **chain.inputs("extract/train", "extract/classes", "extract/splits"),
                        "extract/test": test,
                        **seen,
                    },
                    resumable=True,
                )
            )
    return made


def _check(config: Config, before: Config) -> None:
    one, other = ((c.split, c.seed, c.stack_part) for c in (config, before))
    if one != other:
        raise UserError(
            f"pseudo_label.teacher = {config.pseudo_label.teacher}: its seed, split or folds"
            " are others than those of"
            f" {config.name}; what its networks have learnt would be scored here"
        )


def _seen(config: Config, model: Model, net: str) -> list[str]:
    """The artifacts of the round before that labels are made of."""
    found = []
    for name in teachers(config, model.n_folds):
        found.append(f"predictions/{name}/{config.stack_part}")
        by_all = config.stack_part == "holdout"
        found.append(f"predictions/{name}/test" if by_all else f"cnn/{name}/{net}")
    return found


def _settled(before: Config) -> dict[str, Artifact]:
    """The artifacts of the round before: they are read, and never made."""
    chain = Chain(before)
    for stage in (chain_pictures.extract, chain_pictures.train, chain_pictures.predict):
        stage(chain)
    return {name: _as_settled(artifact) for name, artifact in chain.made.items()}


def _as_settled(artifact: Artifact) -> Artifact:
    return replace(artifact, settled=True)
