"""Layout of a scene: which objects it shows, and where."""

from dataclasses import dataclass, replace

import cv2
import numpy as np

from lib.config.scenes import Scenes
from lib.data.synthetic.scenes.annotation import UNKNOWN, WHOLE_IMAGE, Scene, SceneObject
from lib.data.synthetic.scenes.canvas import NO_OBJECT, Canvas, Layer
from lib.data.synthetic.scenes.class_tree import ClassTree
from lib.data.synthetic.scenes.pictures.collection import Pictures
from lib.data.synthetic.scenes.pictures.cutout import OPAQUE, Cutout, pose
from lib.data.synthetic.scenes.pictures.generated import draw_room
from lib.data.synthetic.scenes.pictures.photographs import Box, Photograph

ASPECTS = (2.0, 1.0, 0.5)  # width over height
ASPECT_SPREAD, MAX_ASPECT_SHIFT = 0.08, 0.2  # of the log of it
MIN_SIDE = 8  # pixels
# Sizes are fractions of the largest size that fits into the image.
SUBJECT_SIZE, OTHER_SIZE, INSIDE_SIZE, OCCLUDER_SIZE = (0.6, 0.95), (0.15, 0.34), (0.25, 0.45), 0.6
SHEET_SIZE = (0.45, 0.7)  # of a depiction
PART_SIZE = (0.22, 0.38)  # of the shorter side of its whole
GROUP, GROUP_SIZE = (6, 10), (0.3, 0.42)  # objects of a group
MAX_ANGLE = 12  # degrees that an object is turned by
REACH = (0.15, 0.35)  # of a truncated object that lies outside of the image
PHOTOGRAPH_RATIO = 4 / 3  # of most photographs before their exporter stretched them to squares
MIN_KEPT = 0.6  # of a subject's box in a cropped photograph; of others a quarter
SAME_CLASS, SAME_PARENT = 0.3, 0.3  # fractions of the objects beside a subject


@dataclass(frozen=True)
class Studio:
    """What all scenes of a folder are composed from.

    classes: subjects, most frequent first. weights: float64 [classes] that add up to 1.
    """

    settings: Scenes
    tree: ClassTree
    pictures: Pictures
    classes: tuple[str, ...]
    weights: np.ndarray
    seed: int

    def parts(self, label: str) -> list[str]:
        """The parts of a class that have pictures."""
        return [part for part in self.tree.parts(label) if self.pictures.counts.get(part)]

    def own_parts(self, label: str) -> list[str]:
        """The parts with pictures that a class itself has, which are shown from inside."""
        return [part for part in self.tree.own_parts(label) if self.pictures.counts.get(part)]

    def picture_number(self, label: str, occurrence: int) -> int:
        """The picture of a subject: each picture of a class is used once before any again."""
        count = self.pictures.counts[label]
        if count > 100_000:  # of generated pictures, which are in no order
            return occurrence % count
        row = self.tree.labels.index(label)
        order = np.random.default_rng([self.seed, 25, row]).permutation(count)
        return int(order[occurrence % count])

    def any_cutout(self, label: str, rng: np.random.Generator) -> Cutout:
        """Any picture of a class, as one object: its own parts have no boxes."""
        number = int(rng.integers(self.pictures.counts[label]))
        return replace(self.pictures.cutout(label, number), parts=())

    def other_label(self, label: str, rng: np.random.Generator) -> str:
        """The class of an object beside a subject: the same, one of its parent's, or any."""
        chance = rng.uniform()
        if chance < SAME_CLASS and self.pictures.counts.get(label):
            return label
        parents = set(self.tree.parents(label))
        drawn = str(rng.choice(self.classes, p=self.weights))
        siblings = [
            other
            for other in self.classes
            if parents & set(self.tree.parents(other)) and self.pictures.counts.get(other)
        ]
        if chance < SAME_CLASS + SAME_PARENT and siblings:
            return siblings[int(rng.integers(len(siblings)))]
        shown = [other for other in (drawn, *self.classes) if self.pictures.counts.get(other)]
        return shown[0]


def scene_size(settings: Scenes, rng: np.random.Generator) -> tuple[int, int]:
    """Width and height of a scene in pixels: about 2:1, 1:1 or 1:2, by `aspect_weights`."""
    weights = np.array(settings.aspect_weights)
    shift = np.clip(rng.normal(0, ASPECT_SPREAD), -MAX_ASPECT_SHIFT, MAX_ASPECT_SHIFT)
    ratio = ASPECTS[int(rng.choice(3, p=weights / weights.sum()))] * float(np.exp(shift))
    longest = settings.size
    width, height = (longest, longest / ratio) if ratio > 1 else (longest * ratio, longest)
    return max(MIN_SIDE, round(width)), max(MIN_SIDE, round(height))


def lay_out(studio: Studio, label: str, occurrence: int, rng: np.random.Generator) -> Scene:
    """A scene whose subject is of the class `label`.

    occurrence: how many scenes before this one have the same subject.
    """
    settings = studio.settings
    size = scene_size(settings, rng)
    parts, has_pictures = studio.parts(label), bool(studio.pictures.counts.get(label))
    is_inside, is_group, is_depiction, is_truncated, has_parts, is_occluded = (
        rng.uniform(size=6)
        < (
            settings.inside,
            settings.groups,
            settings.depictions,
            settings.truncation,
            settings.parts,
            settings.occlusion,
        )
    ).tolist()
    own_parts = studio.own_parts(label)
    if own_parts and (is_inside or not has_pictures):
        return _inside_scene(studio, label, own_parts, size, rng)
    number = studio.picture_number(label, occurrence)
    photograph = None if is_group or is_depiction else studio.pictures.subject(label, number)
    scene = _photograph_scene(*photograph, size) if photograph else None
    if scene is None:
        background, source = studio.pictures.background(*size, rng)
        scene = Scene(Canvas(background), source)
        _add_others(studio, scene, label, rng)
        scene.subject = len(scene.objects)
        cutout = studio.pictures.cutout(label, number)
        if is_group or is_depiction or not has_parts:
            cutout = replace(cutout, parts=())
        if is_group:
            _add_group(studio, scene, label, cutout, rng)
        elif is_depiction:
            _add_depiction(scene, label, cutout, rng)
        else:
            layer = _add(scene, label, cutout, rng.uniform(*SUBJECT_SIZE), rng, is_truncated)
            if parts and has_parts and not cutout.parts:
                _add_parts(studio, scene, layer, parts, rng)
    if is_occluded:
        _add_occluder(studio, scene, label, rng)
    return scene


def _add(
    scene: Scene,
    label: str,
    cutout: Cutout,
    size: float,
    rng: np.random.Generator,
    truncated: bool = False,
) -> Layer:
    """Put an object anywhere in the image, or partly outside of it."""
    posed = _posed(scene, cutout, size, rng)
    height, width = posed.alpha.shape
    free = np.maximum(0, np.array(scene.size) - (width, height))
    x, y = (int(v) for v in rng.integers(0, free + 1))
    if truncated:
        outside = rng.uniform(*REACH)
        side = int(rng.integers(4))
        x = (round(-outside * width), scene.size[0] - round((1 - outside) * width), x, x)[side]
        y = (y, y, round(-outside * height), scene.size[1] - round((1 - outside) * height))[side]
    return _place(scene, label, posed, x, y)


def _place(scene: Scene, label: str, posed: Cutout, x: int, y: int, part_of: int = -1) -> Layer:
    """Put a posed object and its own parts at (x, y), its upper left pixel."""
    layer = Layer(len(scene.objects), posed, x, y)
    scene.canvas.layers.append(layer)
    scene.objects.append(SceneObject(label, posed.source, part_of=part_of))
    numbers = [layer.object, *(len(scene.objects) + n for n in range(len(posed.parts)))]
    for part in posed.parts:
        inner = Cutout(posed.image, part.alpha, posed.source)
        scene.canvas.layers.append(Layer(len(scene.objects), inner, x, y))
        scene.objects.append(SceneObject(part.label, posed.source, part_of=numbers[part.whole + 1]))
    return layer


def _posed(scene: Scene, cutout: Cutout, size: float, rng: np.random.Generator) -> Cutout:
    """A cutout at a fraction of the largest size that fits, turned a little, perhaps mirrored."""
    height, width = cutout.alpha.shape
    fit = min(scene.size[0] / width, scene.size[1] / height)
    side = max(4.0, size * fit * max(height, width))
    return pose(cutout, side, rng.uniform(-MAX_ANGLE, MAX_ANGLE), rng.uniform() < 0.5)


def _add_others(studio: Studio, scene: Scene, label: str, rng: np.random.Generator) -> None:
    """Put smaller objects around the subject, which comes later and may hide some of them."""
    for _ in range(int(rng.integers(studio.settings.max_others + 1))):
        other = studio.other_label(label, rng)
        _add(scene, other, studio.any_cutout(other, rng), rng.uniform(*OTHER_SIZE), rng)


def _add_group(
    studio: Studio, scene: Scene, label: str, cutout: Cutout, rng: np.random.Generator
) -> None:
    """Put several objects of a class close together; they are one object with one box."""
    number, (width, height) = len(scene.objects), scene.size
    center = np.array([rng.uniform(0.35, 0.65) * width, rng.uniform(0.35, 0.65) * height])
    cutouts = [cutout, *(studio.any_cutout(label, rng) for _ in range(int(rng.integers(*GROUP))))]
    for member in cutouts:
        posed = _posed(scene, member, rng.uniform(*GROUP_SIZE), rng)
        rows, columns = posed.alpha.shape
        middle = center + rng.uniform(-0.3, 0.3, 2) * (width, height)
        x = int(np.clip(middle[0] - columns / 2, 0, max(0, width - columns)))
        y = int(np.clip(middle[1] - rows / 2, 0, max(0, height - rows)))
        scene.canvas.layers.append(Layer(number, posed, x, y))
    scene.objects.append(SceneObject(label, cutout.source, group=1))


def _add_depiction(scene: Scene, label: str, cutout: Cutout, rng: np.random.Generator) -> None:
    """Put a picture of an object on a framed sheet of paper."""
    posed = _posed(scene, cutout, rng.uniform(*SHEET_SIZE), rng)
    rows, columns = posed.alpha.shape
    border = max(2, round(0.15 * max(rows, columns)))
    paper = rng.uniform(215, 250, 3).astype(np.float32)
    sheet = np.empty((rows + 2 * border, columns + 2 * border, 3), np.float32)
    sheet[:] = paper
    frame = max(1, border // 4)
    corner = (sheet.shape[1] - 1, sheet.shape[0] - 1)
    cv2.rectangle(sheet, (0, 0), corner, rng.uniform(20, 110, 3).tolist(), frame)
    free = np.maximum(0, np.array(scene.size) - sheet.shape[1::-1])
    x, y = (int(v) for v in rng.integers(0, free + 1))
    opaque = np.full(sheet.shape[:2], 255, np.uint8)
    scene.canvas.layers.append(
        Layer(NO_OBJECT, Cutout(sheet.astype(np.uint8), opaque, "generated"), x, y)
    )
    gray = posed.image.mean(axis=2, keepdims=True)  # a print is paler than what it shows
    faded = (0.35 * posed.image + 0.4 * gray + 0.25 * paper).astype(np.uint8)
    printed = Cutout(faded, posed.alpha, cutout.source)
    scene.canvas.layers.append(Layer(len(scene.objects), printed, x + border, y + border))
    scene.objects.append(SceneObject(label, cutout.source, depiction=1))


def _add_parts(
    studio: Studio, scene: Scene, whole: Layer, parts: list[str], rng: np.random.Generator
) -> None:
    """Put one or two parts inside their whole, so that they do not reach over its box."""
    rows, columns = np.nonzero(whole.cutout.alpha >= OPAQUE)
    height, width = whole.cutout.alpha.shape
    if not len(rows):
        return
    for _ in range(int(rng.integers(1, 3))):
        part = parts[int(rng.integers(len(parts)))]
        cutout = studio.any_cutout(part, rng)
        side = max(4.0, rng.uniform(*PART_SIZE) * min(height, width))
        posed = pose(cutout, side, rng.uniform(-MAX_ANGLE, MAX_ANGLE), rng.uniform() < 0.5)
        pick = int(rng.integers(len(rows)))
        part_rows, part_columns = posed.alpha.shape
        x = int(np.clip(columns[pick] - part_columns // 2, 0, max(0, width - part_columns)))
        y = int(np.clip(rows[pick] - part_rows // 2, 0, max(0, height - part_rows)))
        _place(scene, part, posed, whole.x + x, whole.y + y, whole.object)


def _add_occluder(studio: Studio, scene: Scene, label: str, rng: np.random.Generator) -> None:
    """Put another object over an edge of the subject."""
    layers = [layer for layer in scene.canvas.layers if layer.object == scene.subject]
    given = scene.objects[scene.subject].box
    width, height = scene.size
    if given is not None:
        corners = (given[0] * width, given[1] * width, given[2] * height, given[3] * height)
    else:
        corners = (
            min(layer.x for layer in layers),
            max(layer.x + layer.cutout.alpha.shape[1] for layer in layers),
            min(layer.y for layer in layers),
            max(layer.y + layer.cutout.alpha.shape[0] for layer in layers),
        )
    other = studio.other_label(label, rng)
    cutout = studio.any_cutout(other, rng)
    side = OCCLUDER_SIZE * min(corners[1] - corners[0], corners[3] - corners[2])
    posed = pose(cutout, max(4.0, side), rng.uniform(-MAX_ANGLE, MAX_ANGLE), False)
    rows, columns = posed.alpha.shape
    across, down = float(rng.choice((0.2, 0.8))), rng.uniform(0.3, 0.7)
    if rng.uniform() < 0.5:
        across, down = down, across
    x = corners[0] + across * (corners[1] - corners[0]) - columns / 2
    y = corners[2] + down * (corners[3] - corners[2]) - rows / 2
    _place(scene, other, posed, round(x), round(y))


def _inside_scene(
    studio: Studio, label: str, parts: list[str], size: tuple[int, int], rng: np.random.Generator
) -> Scene:
    """A whole from inside: its box is the image, and its parts are the objects in it."""
    scene = Scene(Canvas(draw_room(*size, rng)))
    scene.objects.append(SceneObject(label, "generated", WHOLE_IMAGE, truncated=1, inside=1))
    for _ in range(int(rng.integers(2, 5))):
        part = parts[int(rng.integers(len(parts)))]
        _add(scene, part, studio.any_cutout(part, rng), rng.uniform(*INSIDE_SIZE), rng)
    return scene


def _photograph_scene(photograph: Photograph, box: Box, size: tuple[int, int]) -> Scene | None:
    """A photograph as a scene, cropped around a box; None if too little of the box would stay."""
    width, height = size
    wanted = width / height / PHOTOGRAPH_RATIO
    across, down = (1.0, 1 / wanted) if wanted > 1 else (wanted, 1.0)
    x0 = float(np.clip((box[0] + box[1]) / 2 - across / 2, 0, 1 - across))
    y0 = float(np.clip((box[2] + box[3]) / 2 - down / 2, 0, 1 - down))
    found = [
        (label, other, *_clipped(other, (x0, x0 + across, y0, y0 + down)))
        for label, other in photograph.boxes
    ]
    kept = {other: fraction for _, other, _, fraction in found}
    if kept[box] < MIN_KEPT:
        return None
    image = photograph.read()
    rows, columns = image.shape[:2]
    window = np.array([[x0, y0], [x0 + across, y0], [x0, y0 + down]]) * (columns, rows)
    target = np.array([[0, 0], [width, 0], [0, height]])
    matrix = cv2.getAffineTransform(window.astype(np.float32), target.astype(np.float32))
    matrix[:, 2] += (matrix[:, :2].sum(axis=1) - 1) / 2  # centers of pixels, not their corners
    crop = cv2.warpAffine(image, matrix, size, borderMode=cv2.BORDER_REPLICATE)
    scene = Scene(Canvas(crop), photograph.source)
    for label, other, inner, fraction in found:
        if other == box:
            scene.subject = len(scene.objects)
        elif fraction < 0.25:
            continue
        flags = {"occluded": UNKNOWN, "group": UNKNOWN, "depiction": UNKNOWN, "inside": UNKNOWN}
        truncated = 1 if fraction < 0.98 else UNKNOWN
        scene.objects.append(
            SceneObject(label, photograph.source, inner, truncated=truncated, **flags)
        )
    return scene


def _clipped(box: Box, window: Box) -> tuple[Box, float]:
    """A box in the coordinates of a window, clipped to it, and which fraction of it is left."""
    across, down = window[1] - window[0], window[3] - window[2]
    edges = [(box[i] - window[0]) / across for i in (0, 1)]
    edges += [(box[i] - window[2]) / down for i in (2, 3)]
    inner = [min(max(edge, 0.0), 1.0) for edge in edges]
    area = (edges[1] - edges[0]) * (edges[3] - edges[2])
    left = (inner[1] - inner[0]) * (inner[3] - inner[2])
    return (inner[0], inner[1], inner[2], inner[3]), left / area
