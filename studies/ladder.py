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

Figures are out-of-fold, on the part that trains the boosters: the weights of a blend, too, are
fitted without the fold that they score.
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
from lib.stacking import blend, blend_weights
from lib.stages import extract, features, stack
from lib.stages.blends.scores import best_member
from lib.stages.order import build_stage, declare_all
from lib.stages.read import Member, all_boosters, all_members, read_candidates, read_scores
from lib.utils.groups import group_argmax
from studies import tables
from studies.tables import Row, slug

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
    """The boosters of an experiment, with their out-of-fold scores."""

    def __init__(self, experiment: Experiment) -> None:
        self.experiment = experiment
        self.rows = read_candidates(experiment, experiment.config.stack_part)
        self.members = all_boosters(experiment)
        self._scores: dict[Member, np.ndarray] = {}

    def scores(self, members: Sequence[Member]) -> list[np.ndarray]:
        """float32 [rows] for each member; each is read from disk once."""
        part = self.experiment.config.stack_part
        for member in members:
            if member not in self._scores:
                self._scores[member] = read_scores(self.experiment, member, part)
        return [self._scores[member] for member in members]

    def single(self, member: Member) -> np.ndarray:
        """bool [products]: whether one member predicts the true class."""
        return self._correct(self.scores([member])[0])

    def blend(self, members: Sequence[Member], method: str) -> np.ndarray:
        """bool [products]: whether a blend whose weights are fitted by `method` does."""
        rows, greedy_steps = self.rows, self.experiment.config.blend.greedy_steps
        scores = self.scores(members)
        return self._correct(
            blend.cross_fit(scores, rows.product, rows.target, rows.fold, method, greedy_steps)
        )

    def _correct(self, scores: np.ndarray) -> np.ndarray:
        return self.rows.target[group_argmax(scores, self.rows.product)] == 1


def steps(experiment: Experiment) -> list[Row]:
    """Single members and blends, each compared with the best member of layer 2."""
    members, method = Members(experiment), experiment.config.blend.method
    correct = {}
    for number in (2, 3):
        best = best_member(experiment, f"l{number}")
        correct[f"best of layer {number}: {best.source} {best.booster}"] = members.single(best)
    for name in blend_weights.METHODS:
        correct[f"all boosters, {name} weights"] = members.blend(members.members, name)
    with_networks = members.blend(all_members(experiment), method)
    correct[f"all boosters and networks, {method} weights"] = with_networks
    for name, belongs in _subsets(experiment, members.members).items():
        subset = [member for member in members.members if belongs(member)]
        if 0 < len(subset) < len(members.members):
            correct[f"{name} ({len(subset)})"] = members.blend(subset, method)
    return tables.compare({name: [seed] for name, seed in correct.items()})


def _subsets(
    experiment: Experiment, members: Sequence[Member]
) -> dict[str, Callable[[Member], bool]]:
    """Tests for membership in the blends of the 5th-place write-up's ladder."""
    models = experiment.config.classifiers
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
    correct: dict[str, list[np.ndarray]] = {}
    for name in names:
        for seed in range(seeds):
            folder = [f"work={experiment.folder}_ladder", f"name={slug(name)}_{seed}"]
            changes = [*SHORT_STACK, *ABLATIONS[name], f"stack.seed={seed}"]
            variant = Experiment(load(path, [*overrides, *changes, *folder]))
            tables.link_stages(experiment, variant, SHARED_STAGES)
            for stage in (extract, features, stack):
                build_stage(stage, variant, rebuild=True)
            members = Members(variant)
            of_seed = members.blend(members.members, variant.config.blend.method)
            correct.setdefault(name, []).append(of_seed)
    return tables.compare(correct)


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
