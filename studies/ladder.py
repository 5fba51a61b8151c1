"""What each idea earns: the rungs of a trained experiment, and the same without one idea (B5, C17).

    python -m studies.ladder --config configs/fashion.toml
    python -m studies.ladder --config configs/sample.toml --seeds 5

The experiment must be trained (./run_all.sh CONFIG). Two tables come out, in Markdown.

Rungs: every member alone, and blends of some of them: one order of inference, one layer, one
booster, no "multi". Nothing is fitted anew but the blend's weights.

Ablations: stages 04 and 05 again with one setting changed, on networks and predictions that are
taken as they lie; with few boosters (`SHORT`), so that all variants compare with the first line
and not with the experiment. `--seeds` repeats them with other seeds of the boosters; an interval
is over products, whose answers of all seeds are drawn together.

Each figure is given twice: on the locked part, and out-of-fold on the stack part, which has many
times the products. Out-of-fold, weights of a blend are fitted without the fold that they score.
"""

import argparse
import sys
from collections.abc import Callable, Sequence
from functools import partial

import numpy as np

from lib.config.load import load
from lib.config.schema import Config
from lib.errors import UserError
from lib.pipeline.artifact import status_all
from lib.pipeline.experiment import Experiment
from lib.runtime.log import configure_logging
from lib.stacking import blend
from lib.stages import extract, features, stack
from lib.stages.blending import best_member
from lib.stages.order import build_stage, declare_all
from lib.stages.read import Member, all_members, read_candidates, read_scores
from lib.utils.groups import group_argmax
from studies.tables import Answers, Line, lines_of, markdown, share, slug

SHORT = (
    'stack.sources=["mean"]',
    'stack.l2=["xgboost", "lightgbm"]',
    'stack.l3=["xgboost", "lgbm_extra"]',
)
ABLATIONS: dict[str, tuple[str, ...]] = {
    "all of it": (),
    "without hashes": ("features.use_md5=false",),
    "without priors": ("features.id_windows=[]", "features.id_neighbors=0"),
    "without neighbours": ("predict.embed_models=[]",),
    "without hashes, priors, neighbours": (
        "features.use_md5=false",
        "features.id_windows=[]",
        "features.id_neighbors=0",
        "predict.embed_models=[]",
    ),
    "without the raw columns": ("features.use_raw_topk=false",),
    "with a perceptual hash": ("features.use_phash=true",),
    "with rankers beside": ('stack.l2=["xgboost", "lightgbm", "lambdarank", "xgb_rank"]',),
    "rankers alone": (
        'stack.l2=["lambdarank", "xgb_rank"]',
        'stack.l3=["lambdarank", "xgb_rank"]',
    ),
    "with a fourth layer": ('stack.l4=["xgboost", "lgbm_extra"]',),
    "boosting ended by the folds": ("stack.n_estimators=1000", "stack.early_stopping_rounds=30"),
}
TAKEN = ("extract", "cnn", "predictions", "embeddings")  # stages that every variant shares


class Scored:
    """The members of an experiment on its two labelled parts, each read once."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self.parts = ("locked", config.stack_part)
        self.rows = {part: read_candidates(Experiment(config), part) for part in self.parts}
        self.members = all_members(Experiment(config))
        self._scores: dict[tuple[Member, str], np.ndarray] = {}

    def scores(self, members: Sequence[Member], part: str) -> list[np.ndarray]:
        for member in members:
            if (member, part) not in self._scores:
                self._scores[member, part] = read_scores(Experiment(self.config), member, part)
        return [self._scores[member, part] for member in members]

    def alone(self, member: Member) -> Answers:
        return self._answers(*(self.scores([member], part)[0] for part in self.parts))

    def blended(self, members: Sequence[Member], how: str) -> Answers:
        """A blend of these members, with weights found as `how` says."""
        part, steps = self.config.stack_part, self.config.blend.greedy_steps
        known, rows = self.scores(members, part), self.rows[part]
        product, target, fold = rows.product, rows.target, rows.fold
        weights = blend.fit_weights(known, product, target, fold, how, steps)
        locked = self.rows["locked"].product
        mixed = blend.weighted_mean(self.scores(members, "locked"), weights, locked)
        return self._answers(mixed, blend.cross_fit(known, product, target, fold, how, steps))

    def _answers(self, *scores: np.ndarray) -> Answers:
        right = []
        for score, rows in zip(scores, self.rows.values(), strict=True):
            right.append(rows.target[group_argmax(score, rows.product)] == 1)
        return Answers(*right)


def rungs(config: Config) -> list[Line]:
    """Members alone and blends of some of them, each against the best L2 model."""
    scored, how = Scored(config), config.blend.method
    best2, best3 = best_member(Experiment(config), "l2"), best_member(Experiment(config), "l3")
    found = {
        f"best of layer 2: {best2[0]} {best2[2]}": scored.alone(best2),
        f"best of layer 3: {best3[0]} {best3[2]}": scored.alone(best3),
    }
    for method in blend.METHODS:
        found[f"all members, {method} weights"] = scored.blended(scored.members, method)
    for name, wanted in _kinds(config, scored.members).items():
        members = [member for member in scored.members if wanted(member)]
        if 0 < len(members) < len(scored.members):
            found[f"{name} ({len(members)})"] = scored.blended(members, how)
    return lines_of({name: [answers] for name, answers in found.items()})


def _kinds(config: Config, members: Sequence[Member]) -> dict[str, Callable[[Member], bool]]:
    """Which members the parts of the document's ladder are made of."""
    kinds: dict[str, Callable[[Member], bool]] = {
        "order 1: networks averaged first": lambda m: m[0] == "mean",
        "order 2: a stack for each network": lambda m: m[0] in config.models,
        "without multi": lambda m: m[0] != "multi",
    }
    for layer in dict.fromkeys(member[1] for member in members):
        kinds[f"layer {layer[1:]} alone"] = partial(_is, 1, layer)
    for booster in dict.fromkeys(member[2] for member in members):
        kinds[f"{booster} alone"] = partial(_is, 2, booster)
    return kinds


def _is(place: int, value: str, member: Member) -> bool:
    return member[place] == value


def ablations(
    config: Config, path: str, overrides: Sequence[str], names: Sequence[str], seeds: int
) -> list[Line]:
    """Stages 04 and 05 of each variant and seed, built where they are missing."""
    found: dict[str, list[Answers]] = {}
    for name in names:
        for seed in range(seeds):
            place = [f"work={Experiment(config).folder}_ladder", f"name={slug(name)}_{seed}"]
            changes = [*SHORT, *ABLATIONS[name], f"stack.seed={seed}"]
            variant = load(path, [*overrides, *changes, *place])
            share(config, variant, TAKEN)
            for stage in (extract, features, stack):
                build_stage(stage, Experiment(variant), rebuild=True)
            scored = Scored(variant)
            found.setdefault(name, []).append(scored.blended(scored.members, variant.blend.method))
    return lines_of(found)


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m studies.ladder",
        description="What each idea earns: rungs of a trained experiment, and ablations.",
        epilog="example: python -m studies.ladder --config configs/fashion.toml --seeds 2",
    )
    parser.add_argument("--config", default="configs/sample.toml", help="(%(default)s)")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--seeds", type=int, default=3, help="of the boosters (%(default)s)")
    parser.add_argument("--without", nargs="*", default=[], help="names of ablations to leave out")
    arguments = parser.parse_args()
    configure_logging()
    names = [name for name in ABLATIONS if name not in arguments.without]
    try:
        config = load(arguments.config, arguments.set)
        _check_trained(config)
        print(markdown("Rungs", rungs(config)), end="\n\n", flush=True)
        lines = ablations(config, arguments.config, arguments.set, names, arguments.seeds)
        print(markdown(f"Ablations, seeds of the boosters: {arguments.seeds}", lines))
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def _check_trained(config: Config) -> None:
    artifacts = [
        artifact for stage in declare_all(Experiment(config)).values() for artifact in stage
    ]
    for artifact, state in status_all(artifacts).items():
        if not state.fresh:
            raise UserError(f"{artifact} is {state}; run ./run_all.sh with this config first")


if __name__ == "__main__":
    raise SystemExit(main())
