"""Choose a plan: by points, the one with most whose expected end is within the time"""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from lib.config.data import Data
from lib.config.load import from_tree
from lib.config.schema import Config
from lib.config.setting import settings_of
from lib.planning.catalog import Facts
from lib.planning.costs import Speed, stage_seconds
from lib.planning.presets import Plan, add_text_model, crop_of, plans, settings
from lib.planning.request import Request
from lib.stages.rehearsal.estimate import duration

NEARLY = 1.0  # points that quality "good" may be below the best plan in time
LONG = 2 * 3600  # seconds of a plan that nobody has limited
FAST = 10 * 60  # seconds of a plan of quality "fast"
ROUNDING = 1e-6  # of sums of points
MARGIN = 0.85  # of the time that is planned for: machines have other work too

SpeedOf = Callable[[Plan], Speed]


@dataclass(frozen=True)
class Choice:
    """A plan, its config, and the seconds that each stage is expected to take. spent: seconds
    before the first stage."""

    plan: Plan
    config: Config
    seconds: dict[str, float]
    spent: float

    @property
    def total(self) -> float:
        """Seconds from the call to the end."""
        return self.spent + sum(self.seconds.values())


def choose(request: Request, data: Data, facts: Facts, speed_of: SpeedOf, spent: float) -> Choice:
    """The plan with most points that ends in time; of equal points, the one that ends first.

    For `run.quality` "good" the points need not be the most by NEARLY. "fast" trains no network on
    images if there are weights, and ends within FAST.
    speed_of: the measured speed of a plan's network. spent: seconds since the call. Without a time
    limit every plan is in time, but those that are not frugal only if all ends within LONG: nobody
    has asked to wait for days. Where no plan is in time, the shortest.
    """
    limit, quality = request.base.run.time_limit, request.base.run.quality
    nearly = NEARLY if quality == "good" else 0.0
    every = list(plans(facts))
    if quality == "fast":
        every = [plan for plan in every if not plan.is_trained] or every
    evaluated: list[Choice] = []
    in_time: list[Choice] = []
    for plan in sorted(every, key=lambda plan: -plan.points):
        if in_time and plan.points < in_time[0].plan.points - nearly - ROUNDING:
            break  # all that follow have fewer points
        choice = _evaluate(plan, request, data, facts, speed_of(plan), spent)
        evaluated.append(choice)
        if _is_in_time(choice, limit, quality):
            in_time.append(choice)
    return min(in_time or evaluated, key=lambda choice: choice.total)


def _is_in_time(choice: Choice, limit: int, quality: str) -> bool:
    if quality == "fast" and choice.total > FAST:
        return False
    if limit:
        return choice.total <= MARGIN * limit
    return choice.plan.is_frugal or choice.total <= LONG


def _evaluate(
    plan: Plan, request: Request, data: Data, facts: Facts, speed: Speed, spent: float
) -> Choice:
    config = config_of(plan, request, data, facts)
    return Choice(plan, config, stage_seconds(config, facts, speed), spent)


def config_of(plan: Plan, request: Request, data: Data, facts: Facts) -> Config:
    """The config of a plan, with the settings of --set. Raises UserError where these do not fit."""
    tree: dict[str, Any] = settings(plan, facts)
    tree |= {"name": request.base.name, "data": _data_tree(data)}
    if data.text_columns:
        add_text_model(tree, plan)
    return from_tree(tree, request.overrides, "--data")


def _data_tree(data: Data) -> dict[str, Any]:
    """The settings of [data] that are not the defaults, as TOML values."""
    values, usual = asdict(data), asdict(Data())
    return {
        name: list(values[name]) if isinstance(values[name], tuple) else values[name]
        for name in settings_of(Data)
        if values[name] != usual[name]
    }


def lines(choice: Choice, facts: Facts, limit: int) -> Sequence[str]:
    """The plan in lines: what trains, and when each stage is expected to end."""
    plan = choice.plan
    height, width = crop_of(facts, plan.area)
    what = (
        f"{plan.arch} at {height}x{width} pixels, {plan.folds} folds of {plan.epochs} epochs,"
        f" {plan.views} view{'s' if plan.views > 1 else ''}"
    )
    if backbones := choice.config.backbones.values():
        seen = [f"{b.arch} at {b.crop[0]}x{b.crop[1]}" for b in backbones]
        frozen = f"a linear probe on {', '.join(seen)} pixels, frozen"
        what = f"{what}, and {frozen}" if plan.is_trained else frozen
    found = [f"plan: {what}; boosters: {plan.boosters}"]
    end = choice.spent
    for stage, seconds in choice.seconds.items():
        end += seconds
        found.append(f"  {stage:9}{duration(seconds):>9}, ends after {duration(end)}")
    if limit and choice.total > MARGIN * limit:
        found.append(
            f"caution: no plan is sure to end within {duration(limit)}; this is the shortest, of"
            f" about {duration(choice.total)}"
        )
    elif limit:
        found.append(f"the limit is {duration(limit)}; {1 - MARGIN:.0%} of it are kept in reserve")
    return found
