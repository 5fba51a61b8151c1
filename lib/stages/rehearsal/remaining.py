"""`./run_all.sh CONFIG --status`: what is finished, what it took, and how long the rest takes

Seconds of what is not finished are known from, in this order: the epochs of an interrupted
training; the rehearsal; another fold of the same network; the artifact's own last build. Where none
of them exists, they are unknown, and nothing is guessed.
"""

import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

from lib.errors import UserError
from lib.pipeline.artifact import Artifact, Status, partial_folder
from lib.pipeline.experiment import Experiment
from lib.pipeline.listing import listed, state_line
from lib.pipeline.reading import read_json_lines
from lib.runtime.gpu import num_nvidia_gpus
from lib.stages.order import STAGES
from lib.stages.rehearsal.estimate import cost_before, costs_after, duration, wall_seconds
from lib.stages.rehearsal.run import find_rehearsal

FOLD = re.compile(r"fold\d+")
EPOCHS, REHEARSAL = "epochs that are done", "the rehearsal"
OTHER_FOLD, LAST, OTHER_SETTINGS = "other folds", "last builds", "last builds with other settings"
MAX_NAMES = 3  # of artifacts whose time is unknown


class Guess(NamedTuple):
    """Seconds that an artifact will take, and by what they are known."""

    seconds: float
    source: str


def status_lines(
    experiment: Experiment, artifacts: dict[str, list[Artifact]], states: dict[Path, Status]
) -> list[str]:
    """A line for each artifact, grouped by stage, and one of the time that is left.

    Of a fresh artifact its bytes and the seconds that it took; of another one what lies on the
    disk, and after "~" the seconds that it will take.
    """
    guesses, lines = _guesses(experiment, artifacts, states), []
    for stage in STAGES:
        shown = listed(artifacts[stage.NAME], states)
        fresh = [a for a in shown if states[a.path].fresh]
        disk = sum(_bytes(a) for a in shown)
        lines.append(f"{stage.NAME}: {len(fresh)} of {len(shown)} fresh, {_size(disk)}")
        lines += [_line(a, states[a.path], guesses.get(a.path)) for a in shown]
    return [*lines, _left(experiment, artifacts, guesses)]


def stage_line(
    experiment: Experiment,
    stage: ModuleType,
    artifacts: dict[str, list[Artifact]],
    states: dict[Path, Status],
    seconds: float,
) -> str:
    """What a stage is about to build, `seconds` after the start of the run, and the time left."""
    own = [a for a in artifacts[stage.NAME] if not a.frozen]
    count = sum(not states[a.path].fresh for a in own)
    line = f"{stage.NAME}, stage {STAGES.index(stage) + 1} of {len(STAGES)}: "
    line += f"{count} of {len(own)} artifacts to build"
    line += f", {duration(seconds)} after the start" if seconds >= 1 else ""
    guesses = _guesses(experiment, artifacts, states)
    if not any(guesses.values()):
        return line
    bound = "about" if all(guesses.values()) else "more than"
    total = duration(_total_seconds(experiment, artifacts, guesses))
    return f"{line}; {bound} {total} left for all stages"


def _guesses(
    experiment: Experiment, artifacts: dict[str, list[Artifact]], states: dict[Path, Status]
) -> dict[Path, Guess | None]:
    """What is known of the time of each artifact that is not fresh."""
    rehearsed = _by_rehearsal(experiment)
    guesses: dict[Path, Guess | None] = {}
    for stage in STAGES:
        own = artifacts[stage.NAME]
        fresh = [a for a in listed(own, states) if states[a.path].fresh]
        for artifact in own:
            state = states[artifact.path]
            if not state.fresh and not artifact.frozen:
                guesses[artifact.path] = _guess(experiment, artifact, state, fresh, rehearsed)
    return guesses


def _line(artifact: Artifact, state: Status, guess: Guess | None) -> str:
    if state.fresh:
        seconds = duration(cost_before(artifact).seconds)
    else:
        seconds = f"~{duration(guess.seconds)}" if guess else "unknown"
    size = _size(_bytes(artifact))
    return f"{size:>14}{seconds:>10}  {state_line(artifact, state.short())}"


def _left(
    experiment: Experiment, artifacts: dict[str, list[Artifact]], guesses: dict[Path, Guess | None]
) -> str:
    """The line of the time that is left."""
    if not guesses:
        return "nothing is left to do"
    sources = Counter(guess.source for guess in guesses.values() if guess)
    unknown = [str(path) for path, guess in guesses.items() if guess is None]
    parts = []
    if sources:
        by = ", ".join(f"{source} ({count:,})" for source, count in sources.items())
        total = duration(_total_seconds(experiment, artifacts, guesses))
        parts.append(f"about {total} for {sources.total():,} artifacts, by {by}")
    if unknown:
        more = f" and {len(unknown) - MAX_NAMES:,} more" if len(unknown) > MAX_NAMES else ""
        parts.append(f"unknown for {len(unknown):,}: {', '.join(unknown[:MAX_NAMES])}{more}")
    return f"left: {'; '.join(parts)}"


def _total_seconds(
    experiment: Experiment, artifacts: dict[str, list[Artifact]], guesses: dict[Path, Guess | None]
) -> float:
    """Seconds of the clock that the artifacts take whose time is known, several at a time."""
    run, total = experiment.config.run, 0.0
    gpus = 0 if run.device == "cpu" else num_nvidia_gpus()
    for stage in STAGES:
        own = [a for a in artifacts[stage.NAME] if not a.frozen]
        found = [guess.seconds for a in own if (guess := guesses.get(a.path))]
        total += wall_seconds(stage, run, gpus, len(own), found)
    return total


def _guess(
    experiment: Experiment,
    artifact: Artifact,
    state: Status,
    fresh: list[Artifact],
    rehearsed: Callable[[Path], float | None],
) -> Guess | None:
    """What is known of the time of an artifact; fresh: those of its stage."""
    if (seconds := _of_epochs(experiment, artifact)) is not None:
        return Guess(seconds, EPOCHS)
    if (seconds := rehearsed(artifact.path)) is not None:
        return Guess(seconds, REHEARSAL)
    kind = FOLD.sub("fold", artifact.path.name)
    folds = [a for a in fresh if a.path.parent == artifact.path.parent]
    alike = [cost_before(a).seconds for a in folds if FOLD.sub("fold", a.path.name) == kind]
    if alike:
        return Guess(sum(alike) / len(alike), OTHER_FOLD)
    if seconds := cost_before(artifact).seconds:
        same = all(reason.startswith("input ") for reason in state.reasons)
        return Guess(seconds, LAST if same else OTHER_SETTINGS)
    return None


def _of_epochs(experiment: Experiment, artifact: Artifact) -> float | None:
    """Seconds of the epochs that an interrupted training has left, by those that are done."""
    name, kind = artifact.path.parent.name, artifact.path.parent.parent.name
    partial = partial_folder(artifact) if kind == "cnn" else None
    model = experiment.config.models.get(name)
    if partial is None or model is None:
        return None
    try:
        times = read_json_lines(partial / "_times.jsonl", "seconds")
    except UserError:  # no epoch is done
        return None
    if not times:
        return None
    each = sum(line["seconds"] for line in times) / len(times)
    return each * max(0, model.head_only_epochs + model.epochs - len(times))


def _by_rehearsal(experiment: Experiment) -> Callable[[Path], float | None]:
    """Seconds of an artifact by the rehearsal; None for all where there is none."""
    rehearsal = find_rehearsal(experiment) if experiment.target is None else ""
    if isinstance(rehearsal, str):
        return lambda path: None
    folder, paths = rehearsal.folder, [p.parent for p in rehearsal.folder.rglob("_manifest.json")]
    before = {path: cost_before(Artifact(path, lambda folder: None)) for path in paths}
    after = costs_after(experiment, rehearsal, before)

    def seconds(path: Path) -> float | None:
        place = folder / path.relative_to(experiment.folder)
        return after[place].seconds if place in after else None

    return seconds


def _bytes(artifact: Artifact) -> int:
    """Bytes of a finished artifact by its manifest, else of what an interrupted build left."""
    if size := cost_before(artifact).disk:
        return int(size)
    partial = artifact.path.with_name(f"{artifact.path.name}.partial")
    return sum(path.stat().st_size for path in partial.rglob("*") if path.is_file())


def _size(size: float) -> str:
    if size < 100_000:
        return f"{size / 1e3:,.1f} kB" if size else "-"
    return f"{size / 1e6:,.1f} MB"
