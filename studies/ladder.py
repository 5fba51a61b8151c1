"""The accuracy of each step of an experiment, and of the same without one idea.

    python -m studies.ladder --config configs/fashion.toml
    python -m studies.ladder --config configs/sample.toml --seeds 5

Run the experiment first (./run_all.sh CONFIG). The study prints two tables in Markdown.

Steps: each layer's best member, and blends of members: one source of features, one layer, one
booster, all but "multi". Only the weights of the blends are fitted.

Ablations: stages 04 and 05 again with one setting changed, on the experiment's networks and
predictions. They use few boosters (`SHORT_STACK`), so gains are over the first row, not over the
experiment. `--seeds` repeats them with other seeds of the boosters; an interval draws a product
with its predictions of all seeds.

Each figure is given twice: on the locked part, and out-of-fold on the part that trains the
boosters, which has many times the products. Out-of-fold, the weights of a blend are fitted without
the fold that they score.
"""

import argparse
import sys
from collections.abc import Callable, Sequence
from functools import partial

import numpy as np

from lib.config.load import load
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
from studies import tables
from studies.tables import Outcome, Row, slug

BASELINE = "baseline"
SHORT_STACK = (  # few boosters, so that every ablation takes minutes
    'stack.sources=["mean"]',
    'stack.l2=["xgboost", "lightgbm"]',
    'stack.l3=["xgboost", "lgbm_extra"]',
)
ABLATIONS: dict[str, tuple[str, ...]] = {
    BASELINE: (),
    "without hashes": ("features.use_md5=false",),
    "without id features": ("features.id_windows=[]", "features.id_neighbors=0"),
    "without k-NN features": ("predict.embed_models=[]",),
    "without hashes, ids, k-NN": (
        "features.use_md5=false",
        "features.id_windows=[]",
        "features.id_neighbors=0",
        "predict.embed_models=[]",
    ),
    "without raw top-k features": ("features.use_raw_topk=false",),
    "with a perceptual hash": ("features.use_phash=true",),
    "with ranking boosters added": ('stack.l2=["xgboost", "lightgbm", "lambdarank", "xgb_rank"]',),
    "ranking boosters only": (
        'stack.l2=["lambdarank", "xgb_rank"]',
        'stack.l3=["lambdarank", "xgb_rank"]',
    ),
    "with a fourth layer": ('stack.l4=["xgboost", "lgbm_extra"]',),
    "early stopping": ("stack.n_estimators=1000", "stack.early_stopping_rounds=30"),
}
SHARED_STAGES = ("extract", "cnn", "predictions", "embeddings")  # of all variants


class Members:
    """The members of an experiment's blend, with their scores on its two labelled parts."""

    def __init__(self, experiment: Experiment) -> None:
        self.experiment = experiment
        self.parts = ("locked", experiment.config.stack_part)
        self.rows = {part: read_candidates(experiment, part) for part in self.parts}
        self.members = all_members(experiment)
        self._scores: dict[tuple[Member, str], np.ndarray] = {}

    def scores(self, members: Sequence[Member], part: str) -> list[np.ndarray]:
        """float32 [rows] for each member; each is read from disk once."""
        for member in members:
            if (member, part) not in self._scores:
                self._scores[member, part] = read_scores(self.experiment, member, part)
        return [self._scores[member, part] for member in members]

    def single(self, member: Member) -> Outcome:
        """Correct predictions of one member."""
        return self._outcome(*(self.scores([member], part)[0] for part in self.parts))

    def blend(self, members: Sequence[Member], method: str) -> Outcome:
        """Correct predictions of a blend whose weights are fitted by `method`."""
        config = self.experiment.config
        part, steps = config.stack_part, config.blend.greedy_steps
        scores, rows = self.scores(members, part), self.rows[part]
        product, target, fold = rows.product, rows.target, rows.fold
        weights = blend.fit_weights(scores, product, target, fold, method, steps)
        locked_scores = self.scores(members, "locked")
        locked = blend.weighted_mean(locked_scores, weights, self.rows["locked"].product)
        oof = blend.cross_fit(scores, product, target, fold, method, steps)
        return self._outcome(locked, oof)

    def _outcome(self, *scores: np.ndarray) -> Outcome:
        """Which products are predicted correctly; scores: float32 [rows] of each part."""
        correct = []
        for score, rows in zip(scores, self.rows.values(), strict=True):
            correct.append(rows.target[group_argmax(score, rows.product)] == 1)
        return Outcome(*correct)


def steps(experiment: Experiment) -> list[Row]:
    """Single members and blends, each compared with the best member of layer 2."""
    members, method = Members(experiment), experiment.config.blend.method
    outcomes = {}
    for number in (2, 3):
        best = best_member(experiment, f"l{number}")
        outcomes[f"best of layer {number}: {best.source} {best.booster}"] = members.single(best)
    for name in blend.METHODS:
        outcomes[f"all members, {name} weights"] = members.blend(members.members, name)
    for name, belongs in _subsets(experiment, members.members).items():
        subset = [member for member in members.members if belongs(member)]
        if 0 < len(subset) < len(members.members):
            outcomes[f"{name} ({len(subset)})"] = members.blend(subset, method)
    return tables.compare({name: [outcome] for name, outcome in outcomes.items()})


def _subsets(
    experiment: Experiment, members: Sequence[Member]
) -> dict[str, Callable[[Member], bool]]:
    """Tests for membership in the blends of the 5th-place write-up's ladder."""
    models = experiment.config.models
    subsets: dict[str, Callable[[Member], bool]] = {
        "source mean: networks averaged first": lambda member: member.source == "mean",
        "source per_model: one stack for each network": lambda member: member.source in models,
        "without multi": lambda member: member.source != "multi",
    }
    for layer in dict.fromkeys(member.layer for member in members):
        subsets[f"layer {layer[1:]} only"] = partial(_has, "layer", layer)
    for booster in dict.fromkeys(member.booster for member in members):
        subsets[f"{booster} only"] = partial(_has, "booster", booster)
    return subsets


def _has(attribute: str, value: str, member: Member) -> bool:
    """Whether a member's source, layer or booster is `value`."""
    return getattr(member, attribute) == value


def ablations(
    experiment: Experiment, path: str, overrides: Sequence[str], names: Sequence[str], seeds: int
) -> list[Row]:
    """Stages 04 and 05 of each variant and seed, built where missing; a row for each variant."""
    outcomes: dict[str, list[Outcome]] = {}
    for name in names:
        for seed in range(seeds):
            folder = [f"work={experiment.folder}_ladder", f"name={slug(name)}_{seed}"]
            changes = [*SHORT_STACK, *ABLATIONS[name], f"stack.seed={seed}"]
            variant = Experiment(load(path, [*overrides, *changes, *folder]))
            tables.link_stages(experiment, variant, SHARED_STAGES)
            for stage in (extract, features, stack):
                build_stage(stage, variant, rebuild=True)
            members = Members(variant)
            outcome = members.blend(members.members, variant.config.blend.method)
            outcomes.setdefault(name, []).append(outcome)
    return tables.compare(outcomes)


def check_trained(experiment: Experiment) -> None:
    """Raise UserError unless all artifacts of the experiment are fresh."""
    stages = declare_all(experiment)
    artifacts = [artifact for stage in stages.values() for artifact in stage]
    for artifact, status in status_all(artifacts).items():
        if not status.fresh:
            raise UserError(f"{artifact} is {status}; run ./run_all.sh with this config first")


def main() -> int:
    """Exit status: 0, or 2 after a user error."""
    parser = argparse.ArgumentParser(
        prog="python -m studies.ladder",
        description="The accuracy of each step of an experiment, and of the same without one idea.",
        epilog="example: python -m studies.ladder --config configs/fashion.toml --seeds 2",
    )
    parser.add_argument("--config", default="configs/sample.toml", help="(%(default)s)")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--seeds", type=int, default=3, help="of the boosters (%(default)s)")
    parser.add_argument("--without", nargs="*", default=[], help="names of ablations to skip")
    arguments = parser.parse_args()
    configure_logging()
    names = [name for name in ABLATIONS if name not in arguments.without]
    try:
        experiment = Experiment(load(arguments.config, arguments.set))
        check_trained(experiment)
        print(tables.to_markdown("Steps", steps(experiment)), end="\n\n", flush=True)
        rows = ablations(experiment, arguments.config, arguments.set, names, arguments.seeds)
        print(tables.to_markdown(f"Ablations, seeds of the boosters: {arguments.seeds}", rows))
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
