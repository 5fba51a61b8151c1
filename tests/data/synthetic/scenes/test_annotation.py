"""True boxes and flags, compared with scenes that are painted with and without each object."""

import numpy as np
import pytest

from lib.data.synthetic.scenes.annotation import Scene, SceneObject, annotate
from lib.data.synthetic.scenes.canvas import Canvas, Layer
from lib.data.synthetic.scenes.layout import lay_out
from lib.data.synthetic.scenes.pictures.cutout import OPAQUE, Cutout


def in_flat_colors(scene: Scene) -> Scene:
    """The same scene with opaque objects of one color each, another one for each object."""
    layers = []
    for layer in scene.canvas.layers:
        alpha = np.where(layer.cutout.alpha >= OPAQUE, 255, 0).astype(np.uint8)
        image = np.full((*alpha.shape, 3), layer.object + 10, np.uint8)
        layers.append(Layer(layer.object, Cutout(image, alpha, ""), layer.x, layer.y))
    return Scene(Canvas(np.zeros_like(scene.canvas.background), layers), scene.objects)


@pytest.mark.parametrize("seed", range(20))
def test_a_box_is_the_extent_of_what_changes_when_its_object_is_left_out(studio, seed):
    label = studio.classes[seed % len(studio.classes)]
    scene = lay_out(studio, label, seed, np.random.default_rng(seed))
    found = annotate(scene)
    assert next(iter(found.values())).label == label
    flat = in_flat_colors(scene)
    whole, _ = flat.canvas.paint()
    for number, annotated in found.items():
        if annotated.inside:
            assert annotated.box == (0, 1, 0, 1)
            continue
        parts = [n for n, other in enumerate(scene.objects) if other.part_of == number]
        without, _ = flat.canvas.paint(frozenset([number, *parts]))
        rows, columns = np.nonzero((whole != without).any(axis=2))
        edges = (columns.min(), columns.max() + 1, rows.min(), rows.max() + 1)
        assert annotated.box == pytest.approx(np.array(edges) / np.repeat(scene.size, 2))


def square(side: int) -> Cutout:
    return Cutout(np.full((side, side, 3), 200, np.uint8), np.full((side, side), 255, np.uint8), "")


def scene_of(*places: tuple[int, int, int], part_of: int = -1) -> Scene:
    """A scene of 20x10 pixels with squares at (x, y) of a side; the last may be a part."""
    scene = Scene(Canvas(np.zeros((10, 20, 3), np.uint8)))
    for number, (x, y, side) in enumerate(places):
        scene.canvas.layers.append(Layer(number, square(side), x, y))
        scene.objects.append(SceneObject(f"class {number}", "", part_of=-1))
    scene.objects[-1] = SceneObject(scene.objects[-1].label, "", part_of=part_of)
    return scene


def test_flags_say_what_hides_an_object():
    first, second = annotate(scene_of((2, 2, 6), (6, 2, 6))).values()
    assert (first.box, first.occluded, first.truncated) == ((0.1, 0.3, 0.2, 0.8), 1, 0)
    assert (second.box, second.occluded, second.truncated) == ((0.3, 0.6, 0.2, 0.8), 0, 0)
    (cut,) = annotate(scene_of((-3, 2, 6))).values()
    assert (cut.box, cut.occluded, cut.truncated) == ((0.0, 0.15, 0.2, 0.8), 0, 1)


def test_a_part_does_not_hide_its_whole():
    whole, part = annotate(scene_of((2, 2, 6), (2, 2, 4), part_of=0)).values()
    assert (whole.box, whole.occluded) == ((0.1, 0.4, 0.2, 0.8), 0)
    assert part.box == (0.1, 0.3, 0.2, 0.6)


def labels_of(scene: Scene) -> list[str]:
    return [found.label for found in annotate(scene).values()]


def test_what_nobody_can_see_is_not_annotated_but_the_subject_is():
    assert labels_of(scene_of((2, 2, 6), (12, 2, 3))) == ["class 0"]  # small
    hidden = scene_of((2, 2, 6), (1, 2, 6))
    assert labels_of(hidden) == ["class 0", "class 1"]
    assert annotate(hidden)[0].occluded == 1
    hidden.subject = 1
    assert labels_of(hidden) == ["class 1"]


def test_a_subject_that_is_hidden_has_the_box_of_its_place():
    assert annotate(scene_of((2, 2, 6), (1, 1, 8)))[0].box == (0.1, 0.4, 0.2, 0.8)
    assert annotate(scene_of((20, 10, 6), (1, 1, 8)))[0].box == (0, 1, 0, 1)


def test_boxes_of_photographs_stay_and_are_occluded_by_what_is_pasted():
    scene = scene_of((0, 0, 1), (10, 0, 6))
    scene.objects[0] = SceneObject("class 0", "", box=(0.5, 1.0, 0.0, 0.6), occluded=-1)
    assert annotate(scene)[0].occluded == 1
    scene.objects[0] = SceneObject("class 0", "", box=(0.0, 0.5, 0.0, 0.6), occluded=-1)
    assert annotate(scene)[0].occluded == -1
