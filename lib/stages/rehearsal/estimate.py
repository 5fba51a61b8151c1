"""What a whole run costs, by the manifests of its rehearsal

Bytes of an artifact are in proportion to what it is made of: images, products or rows; those of a
booster to its trees. Seconds are too, beyond what every start costs (`costs_after`), and to epochs,
views and trees where the rehearsal had fewer. Networks train at the rate of the last epoch, when
nothing warms up any more. Out-of-fold they predict at a rate of its own: alone, without a prefix
that is shared.
"""

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from lib.config.model import Model
from lib.config.schema import Config, Run
from lib.pipeline.artifact import Artifact
from lib.pipeline.executor import num_shares
from lib.pipeline.experiment import Experiment
from lib.pipeline.manifest import read_manifest
from lib.pipeline.reading import read_json, read_json_lines
from lib.runtime import workers
from lib.stages.order import STAGES, declare_all
from lib.stages.rehearsal.draw import index_name

VALID_ROWS = 5_000  # that are evaluated after an epoch, at most
VALID_SPEED = 3  # how much faster a forward pass is than a training step
PER_SIDE = ("embeddings", "nearest", "phash", "sizes", "boxes", "sets", "twins", "splits", "ids")
LONE = ("extract/twins", "blend", "calibration", "submit", "pseudo")  # artifacts, one of a kind
LONE_START = 4.0  # seconds that one of them takes however few the products: libraries, compilation
CONSTANT = (".json", ".sha256", ".pt", ".html", ".md")  # files of as many bytes for any catalog
OF_TREES = (".ubj", ".txt", ".cbm")
PROJECTION = "projection.npy"  # of embeddings to fewer dimensions
GIB = 1 << 30

Measured = dict[str, dict[str, float]]


@dataclass(frozen=True)
class Cost:
    """seconds; peak: bytes of memory; disk: bytes of files."""

    seconds: float
    peak: float
    disk: float


@dataclass(frozen=True)
class Sizes:
    """How many times larger the whole is than the draw.

    images: by side. products: by part, and by side. drawn: products of each part or side.
    """

    images: dict[str, float]
    products: dict[str, float]
    drawn: dict[str, int]


def lines(experiment: Experiment, rehearsal: Experiment, measured: Measured) -> list[str]:
    """The rates of the networks, then a line for each stage: of the rehearsal, and of the whole."""
    costs = {s.NAME: stage_cost(experiment, rehearsal, s, measured) for s in STAGES}
    drawn = facts(rehearsal, "extract/train")
    whole = facts(rehearsal, index_name(rehearsal, "train"))
    rows = [
        *_rate_lines(experiment, rehearsal),
        f"rehearsal: {drawn['products']:,} of {whole['products']:,} labelled products",
        f"{'':9}{'rehearsal':>12}{'memory':>10}{'disk':>10} | {'whole run':>12}{'memory':>10}"
        f"{'disk':>10}",
    ]
    for name, (before, after) in costs.items():
        rows.append(f"{name:9}{_cells(before)} | {_cells(after)}")
    totals = [
        Cost(
            sum(c.seconds for c in column), max(c.peak for c in column), sum(c.disk for c in column)
        )
        for column in zip(*costs.values(), strict=True)
    ]
    return [*rows, f"{'all':9}{_cells(totals[0])} | {_cells(totals[1])}"]


def _cells(cost: Cost) -> str:
    return f"{duration(cost.seconds):>12}{cost.peak / GIB:>6.1f} GiB{cost.disk / GIB:>6.1f} GiB"


def duration(seconds: float) -> str:
    """As in "45 s", "12 min", "7.5 h" or "3.1 days"."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    if seconds < 100 * 60:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h" if seconds < 48 * 3600 else f"{seconds / 86400:.1f} days"


def stage_cost(
    experiment: Experiment, rehearsal: Experiment, stage: Any, measured: Measured
) -> tuple[Cost, Cost]:
    """The cost of a stage in the rehearsal, and in the whole run.

    Memory beyond that of the rehearsal: the inputs of the artifact that reads the most.
    """
    run = experiment.config.run
    every = {a.path: a for stage in declare_all(rehearsal).values() for a in stage}
    built = [a for a in declare_all(rehearsal)[stage.NAME] if not a.frozen]
    before = {a.path: cost_before(a) for a in every.values()}
    after = costs_after(experiment, rehearsal, before)
    gpus = len(workers.visible_gpus(run)) if stage.PARALLEL else 0
    own = measured[stage.NAME]

    def wall(costs: dict[Any, Cost]) -> float:
        return wall_seconds(stage, run, gpus, len(built), [costs[a.path].seconds for a in built])

    def more_input(artifact: Artifact) -> float:
        paths = [s.path for s in artifact.inputs.values() if isinstance(s, Artifact)]
        return sum(after[p].disk - before[p].disk for p in paths if p in after)

    start = max(0.0, own["seconds"] - wall(before))  # imports, and what no artifact accounts for
    disk = [sum(costs[a.path].disk for a in built) for costs in (before, after)]
    grown = max([0.0, *map(more_input, built)])
    return (
        Cost(own["seconds"], own["peak"], disk[0]),
        Cost(start + wall(after), own["peak"] + grown, disk[1]),
    )


def wall_seconds(stage: Any, run: Run, gpus: int, num_artifacts: int, each: list[float]) -> float:
    """Seconds until artifacts of a stage that take `each` are built.

    num_artifacts: of the stage, with the fresh ones, as they divide the threads. gpus: that torch
    sees.
    """
    if not each:
        return 0.0
    threads = workers.num_threads(run)
    shares = num_shares(gpus, threads, run.workers, num_artifacts) if stage.PARALLEL else 1
    return max([sum(each) / shares, *each])


def sizes_of(experiment: Experiment, rehearsal: Experiment) -> Sizes:
    """How many times larger the parts and sides of the whole are."""
    images, products, counts = {}, {}, {}
    for side in experiment.sides:
        whole = facts(rehearsal, index_name(rehearsal, side))
        drawn = facts(rehearsal, f"extract/{side}")
        images[side] = whole["images"] / max(drawn["images"], 1)
        products[side] = whole["products"] / max(drawn["products"], 1)
        counts[side] = drawn["products"]
    split, labelled = experiment.config.split, counts["train"] * products["train"]
    shares = {"holdout": split.holdout, "locked": split.locked}
    shares["fit"] = 1 - split.holdout - split.locked
    for part, share in shares.items():
        counts[part] = facts(rehearsal, "extract/splits")[part]
        products[part] = share * labelled / max(counts[part], 1)
    return Sizes(images, products, counts)


def cost_before(artifact: Artifact) -> Cost:
    """What a finished artifact took; nothing where it is not finished."""
    manifest = read_manifest(artifact.path)
    if manifest is None:
        return Cost(0.0, 0.0, 0.0)
    disk = sum(_files_of(artifact.path).values())
    return Cost(manifest.get("seconds", 0.0) + manifest.get("check_seconds", 0.0), 0.0, disk)


def _files_of(path: Path) -> dict[str, int]:
    """Bytes of the files of an artifact; none where it is not finished."""
    manifest = read_manifest(path)
    return {n: file["bytes"] for n, file in manifest["files"].items()} if manifest else {}


def costs_after(
    experiment: Experiment, rehearsal: Experiment, before: dict[Path, Cost]
) -> dict[Path, Cost]:
    """What each artifact takes in the whole run; before: what it took in the rehearsal.

    The rate of a kind of work is that of its fastest artifact: the others also loaded libraries,
    networks or compiled code, which does not grow with the catalog.
    """
    sizes = sizes_of(experiment, rehearsal)
    works = {
        path: work_of(experiment.config, rehearsal.config, _name(rehearsal, path), sizes)
        for path in before
    }
    rates: dict[str, float] = {}
    threads = workers.num_threads(experiment.config.run)
    for path, work in works.items():
        if work.units:
            grows = growing_seconds(path, before[path].seconds, threads)
            rate = max(0.0, grows - LONE_START * (work.kind in LONE)) / work.units
            rates[work.kind] = min(rate, rates.get(work.kind, rate))
    after = {}
    for path, work in works.items():
        top, *rest = _name(rehearsal, path)
        seconds = before[path].seconds + rates.get(work.kind, 0.0) * (work.whole - work.units)
        if top == "cnn":
            seconds = _training_seconds(experiment, rehearsal, rest[0], rest[1], sizes)
        after[path] = Cost(seconds, 0.0, grown_bytes(_files_of(path), work))
    return after


def growing_seconds(path: Path, seconds: float, threads: int) -> float:
    """Of the seconds of an artifact, those that grow with what it is made of.

    A booster also loads libraries, before and in its first folds. So its folds count, as many at
    once as there are threads, and each of them as the quickest.
    """
    folds = [json.loads(file.read_text()) for file in path.glob("_time-*.json")]
    at_once = min(threads, len(folds))
    return min(seconds, min(folds) * len(folds) / at_once) if folds else seconds


def _name(rehearsal: Experiment, path: Path) -> tuple[str, ...]:
    """The parts of an artifact's name; those of the first round have another folder."""
    inside = path.is_relative_to(rehearsal.folder)
    return path.relative_to(rehearsal.folder).parts if inside else ("other",)


@dataclass(frozen=True)
class Work:
    """What an artifact does: units of a kind, in the rehearsal and in the whole run.

    bytes: how many times larger the artifact's tables are. trees: how many times more trees it has.
    """

    kind: str
    units: float
    whole: float
    bytes: float
    trees: float = 1.0


def work_of(config: Config, drawn: Config, name: tuple[str, ...], sizes: Sizes) -> Work:
    """The work of an artifact, in rows of the draw times trees, views or networks."""
    top, last = name[0], name[-1]
    if top == "extract" and name[1] in ("train", "test"):  # the index of all stands for the draw
        return Work(top, 0.0, 0.0, 0.0)
    if top == "extract" and name[1] in ("texts", "attributes"):
        return _work(f"extract/{name[1]}", last, sizes.products, sizes)
    if top == "extract" and name[1] in (*PER_SIDE, "ocr"):
        side = last if last in sizes.images else "train"
        return _work(f"extract/{name[1]}", side, sizes.images, sizes)
    if top in ("predictions", "masks"):
        folds, by = (1, "one") if last == "fit" else (config.models[name[1]].n_folds, "all")
        sees_views = top == "predictions" and config.models[name[1]].input != "text"
        views = config.predict.tta_views / drawn.predict.tta_views if sees_views else 1
        return _work(f"{top}/{name[1]}/{by}", last, sizes.products, sizes, folds, views)
    if top == "embeddings":
        rows = sizes.products if name[1] in config.text_encoders else sizes.images
        return _work(f"{top}/{name[1]}", last, rows, sizes)
    if top in ("features", "cascade"):
        return _work(f"{top}/{name[1]}", last, sizes.products, sizes)
    if top in ("stack", "scores"):
        forest = last in ("random_forest", "extra_trees")
        key = "forest_n_estimators" if forest else "n_estimators"
        trees = getattr(config.stack, key) / getattr(drawn.stack, key)
        scored = last if top == "scores" else config.stack_part
        columns = name[1] if name[1] == "multi" else "one"  # the other sources have as many
        layer = "/".join(name[2:] if top == "stack" else name[2:3])
        work = _work(f"{top}/{columns}/{layer}", scored, sizes.products, sizes, 1, trees)
        return replace(work, trees=trees)
    if top in ("blend", "calibration", "submit", "pseudo"):
        part = "test" if top in ("submit", "pseudo") and "test" in sizes.products else None
        return _work(top, part or config.stack_part, sizes.products, sizes)
    return Work(top, 0.0, 0.0, 1.0)


def _work(
    kind: str, key: str, ratios: dict[str, float], sizes: Sizes, each: float = 1, more: float = 1
) -> Work:
    """The work on a part or side; each: passes over its rows; more: times as many in the whole."""
    units, ratio = sizes.drawn[key] * each, ratios[key]
    return Work(kind, units, units * ratio * more, ratio)


def grown_bytes(files: dict[str, int], work: Work) -> float:
    """Bytes of an artifact in the whole run; files: bytes of those that the rehearsal has."""
    total = 0.0
    for name, size in files.items() if work.bytes else ():
        suffix = Path(name).suffix
        factor = work.trees if suffix in OF_TREES else work.bytes
        total += size * (1 if suffix in CONSTANT or name == PROJECTION else factor)
    return total


def _training_seconds(
    experiment: Experiment, rehearsal: Experiment, name: str, fold: str, sizes: Sizes
) -> float:
    """Seconds to train a network: its rows by the rates of the rehearsal, epoch by epoch."""
    model = experiment.config.models[name]
    manifest = read_manifest(rehearsal.path(f"cnn/{name}/{fold}"))
    if manifest is None:
        return 0.0
    head, body = network_rates(rehearsal, name, fold)
    rows = manifest["facts"]["images"] * sizes.products["fit"]
    return network_seconds(model, rows, head, body)


def network_seconds(model: Model, rows: float, head: float, body: float) -> float:
    """Seconds to train a network on `rows`, and to validate it after each epoch.

    head, body: images a second of an epoch of the head, and of one of the whole network.
    """
    valid = min(VALID_ROWS, rows) / (VALID_SPEED * body)
    if model.input == "text":
        return model.text.epochs * (rows / body + valid)
    return model.head_only_epochs * (rows / head + valid) + model.epochs * (rows / body + valid)


def network_rates(rehearsal: Experiment, name: str, fold: str) -> tuple[float, float]:
    """Images a second of an epoch of the head, and of one of the whole network."""
    folder = rehearsal.path(f"cnn/{name}/{fold}")
    phases = [line["phase"] for line in read_json_lines(folder / "history.jsonl", "phase")]
    times = read_json_lines(folder / "_times.jsonl", "images_per_second")
    rates = {p: t["images_per_second"] for p, t in zip(phases, times, strict=True)}
    last = times[-1]["images_per_second"]
    return rates.get("head", last), rates.get("body", last)


def _rate_lines(experiment: Experiment, rehearsal: Experiment) -> list[str]:
    """A line for each model: images a second in training and in prediction."""
    rows = []
    for name in experiment.config.models:
        network = rehearsal.config.network_names_of(name)[0]
        _, body = network_rates(rehearsal, name, network)
        line = f"{name}: trains {body:,.1f} images/s"
        predictions = read_manifest(rehearsal.path(f"predictions/{name}/locked"))
        if predictions is not None and predictions["seconds"] > 0:
            views = predictions["facts"]["images"] * predictions["facts"].get("views", 1)
            networks = len(rehearsal.config.network_names_of(name))
            line += f", predicts {views * networks / predictions['seconds']:,.1f} views/s"
        rows += [line, *_batch_lines(rehearsal, name, network)]
    return rows


def _batch_lines(rehearsal: Experiment, name: str, network: str) -> list[str]:
    """A caution where a network never saw as many images at once as it will in the whole run."""
    model, images = rehearsal.config.models[name], facts(rehearsal, f"cnn/{name}/{network}")
    at_once = model.batch_size // model.grad_accum_steps
    if model.input in ("embedding", "text") or images["images"] >= at_once:
        return []
    return [
        f"caution: {name} trained on {images['images']:,} images, and the whole run takes"
        f" {at_once:,} at once: more memory than is estimated here"
    ]


def facts(rehearsal: Experiment, name: str) -> dict[str, Any]:
    """What the manifest of an artifact says of it."""
    return read_json(rehearsal.path(f"{name}/_manifest.json"), "facts")["facts"]
