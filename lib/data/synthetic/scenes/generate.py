"""Compose scenes: JPEGs, tables and hierarchy in the official layout of Open Images.

    generate(folder, Scenes(num_images=2000), seed=1, threads=2)

    bbox_labels_600_hierarchy.json, class-descriptions-boxable.csv      with planted faults
    train-annotations-bbox.csv, train-annotations-human-imagelabels-boxable.csv       the same
    train/<ImageID>.jpg, test/<ImageID>.jpg
    truth/       the hierarchy without faults, true boxes, subjects and the list of planted faults
    SOURCES.txt  which pictures were composed, and their licenses

No stage reads truth/. Each scene is drawn from (seed, number of the scene) alone, and scenes are
written one by one: memory does not grow with their number, and threads do not change any byte.
"""

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from lib.config.scenes import Faults, Scenes
from lib.data.synthetic.images import encode_jpeg
from lib.data.synthetic.scenes.annotation import SceneObject, annotate
from lib.data.synthetic.scenes.class_tree import (
    ClassTree,
    generate_tree,
    read_tree,
    true_ancestors,
    write_tree,
)
from lib.data.synthetic.scenes.faults import Annotation, Annotator, plant_in_tree
from lib.data.synthetic.scenes.layout import Studio, lay_out
from lib.data.synthetic.scenes.pictures.collection import open_pictures
from lib.data.synthetic.scenes.plan import ScenePlan, plan_scenes, subject_classes
from lib.data.synthetic.scenes.tables import Tables
from lib.utils.prefetch import prefetch

AHEAD = 8  # scenes a thread
GENERATED_FACTOR = 1.25  # classes of a generated hierarchy for each that is a subject
NOISE = 3.0  # of the camera, in gray levels
NO_FAULTS = Faults(0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0)  # of scenes to classify
SOURCES = """\
Composed scenes: no photograph of these objects together exists.

Column Picture of truth/*-annotations-bbox.csv names the picture of each object:
  generated            drawn by this program
  figure               drawn by this program, in clothes of Fashion Product Images
  fashion/<product>    Fashion Product Images (its author states MIT), cut out
  quickdraw/<category> Quick, Draw! by Google (CC BY 4.0), filled with colors
  openimages/<ImageID> Open Images: annotations by Google (CC BY 4.0), photographs CC BY 2.0
  raccoon/<name>       raccoon_dataset by datitran (MIT)
Backgrounds are generated, or regions without boxes of the same photographs: column Background of
truth/*-labels.csv.
The class hierarchy is that of Open Images (CC BY 4.0), with planted faults, or generated.
"""


def generate(folder: Path, settings: Scenes, seed: int, threads: int = 1) -> dict[str, Any]:
    """Compose `settings.num_images` labelled scenes and `num_test_images` to classify.

    threads: draw side by side. Returns counts of scenes, boxes and planted faults. Raises UserError
    if `settings.pictures` lacks what it needs.
    """
    tree = _open_tree(settings, seed)
    pictures = open_pictures(settings.pictures, settings.sources, tree, settings.difficulty, seed)
    classes = subject_classes(tree, pictures.counts, settings.num_classes, seed)
    weights = np.arange(1, len(classes) + 1, dtype=np.float64) ** -settings.power_law
    studio = Studio(settings, tree, pictures, classes, weights / weights.sum(), seed)
    plan = plan_scenes(settings, classes, seed)
    faulty, faults = plant_in_tree(tree, settings.faults, classes, seed)
    (folder / "truth").mkdir(parents=True, exist_ok=True)
    write_tree(folder, faulty)
    write_tree(folder / "truth", tree)
    ancestors = true_ancestors(folder / "truth")
    (folder / "SOURCES.txt").write_text(SOURCES)
    removed = frozenset(fault.label for fault in faults if fault.kind == "missing_parent")
    counts = Counter(fault.kind for fault in faults)
    for side in ("train", "test"):
        careless = settings.faults if side == "train" else NO_FAULTS
        annotator = Annotator(tree, ancestors, careless, classes, removed)
        with Tables(folder, side) as tables, ThreadPoolExecutor(threads) as pool:
            if side == "train":
                tables.write_faults(faults)
            counts += _write_side(folder, side, studio, plan, annotator, tables, pool, threads)
    return {"classes": len(classes), **dict(sorted(counts.items()))}


def _open_tree(settings: Scenes, seed: int) -> ClassTree:
    if settings.pictures:
        return read_tree(Path(settings.pictures) / "openimages")
    return generate_tree(round(GENERATED_FACTOR * settings.num_classes), seed)


def _write_side(
    folder: Path,
    side: str,
    studio: Studio,
    plan: ScenePlan,
    annotator: Annotator,
    tables: Tables,
    pool: ThreadPoolExecutor,
    threads: int,
) -> Counter[str]:
    """Draw and write the scenes of a side; counts of scenes, boxes and faults."""
    (folder / side).mkdir(exist_ok=True)
    numbers = range(plan.num_train)
    if side == "test":
        numbers = range(plan.num_train, len(plan.ids))
    counts = Counter({f"{side}_images": len(numbers)})

    def draw(scene: int) -> DrawnScene:
        return draw_scene(studio, plan, annotator, scene)

    scenes = prefetch(pool, numbers, draw, AHEAD * threads)
    title = f"scenes of {side}"
    for drawn in tqdm(scenes, total=len(numbers), unit=" scenes", desc=title, disable=None):
        annotation = drawn.annotation
        (folder / side / f"{annotation.image}.jpg").write_bytes(drawn.jpeg)
        tables.write(drawn.truth, drawn.background, annotation)
        counts[f"{side}_boxes"] += len(annotation.objects)
        counts.update(fault.kind for fault in annotation.faults)
    return counts


@dataclass(frozen=True)
class DrawnScene:
    """A scene as it is written: truth has the objects, the subject first."""

    jpeg: bytes
    truth: list[SceneObject]
    background: str
    annotation: Annotation


def draw_scene(studio: Studio, plan: ScenePlan, annotator: Annotator, scene: int) -> DrawnScene:
    """Draw and annotate the scene of a number."""
    rng = np.random.default_rng([studio.seed, 26, scene])
    label = plan.classes[plan.subject[scene]]
    laid_out = lay_out(studio, label, int(plan.occurrence[scene]), rng)
    image, shown = laid_out.canvas.paint()
    truth = list(annotate(laid_out, shown).values())
    light = np.exp(rng.normal(0, 0.06))
    noise = rng.standard_normal(image.shape[:2], dtype=np.float32)[:, :, None] * np.float32(NOISE)
    taken = np.clip(image * np.float32(light) + noise, 0, 255).astype(np.uint8)
    annotation = annotator.annotate(plan.ids[scene], truth, rng)
    return DrawnScene(encode_jpeg(taken), truth, laid_out.background, annotation)
