"""Layouts of scenes: each fraction of the settings is measured on scenes."""

from collections import Counter
from dataclasses import replace

import cv2
import numpy as np
import pytest

from lib.config.scenes import Scenes
from lib.data.synthetic.scenes.annotation import UNKNOWN, annotate
from lib.data.synthetic.scenes.class_tree import ClassTree
from lib.data.synthetic.scenes.layout import Studio, lay_out, scene_size
from lib.data.synthetic.scenes.pictures.collection import Pictures
from lib.data.synthetic.scenes.pictures.cutout import Cutout, CutoutPart
from lib.data.synthetic.scenes.pictures.photographs import Photographs
from tests.data.synthetic.scenes.conftest import make_studio

REST = ("tree", "pictures", "classes", "weights", "seed")
CLEAN = {"occlusion": 0.0, "truncation": 0.0, "groups": 0.0, "depictions": 0.0, "inside": 0.0}


def subjects(num: int, studio: Studio) -> list:
    found = []
    for seed in range(num):
        label = studio.classes[seed % len(studio.classes)]
        scene = lay_out(studio, label, seed, np.random.default_rng(seed))
        found.append(annotate(scene)[scene.subject])
    return found


def test_sizes_are_near_the_three_aspects_as_often_as_weighted():
    settings = Scenes(size=200, aspect_weights=(2.0, 1.0, 1.0))
    sizes = [scene_size(settings, np.random.default_rng(seed)) for seed in range(400)]
    assert {max(size) for size in sizes} == {200}
    logs = np.log2([width / height for width, height in sizes])
    assert np.abs(logs - np.rint(logs)).max() < 0.3
    shares = np.array([Counter(np.rint(logs).tolist())[aspect] for aspect in (1, 0, -1)]) / 400
    assert shares == pytest.approx([0.5, 0.25, 0.25], abs=0.08)
    only_tall = Scenes(aspect_weights=(0.0, 0.0, 1.0))
    assert scene_size(only_tall, np.random.default_rng(0))[1] == 192


@pytest.mark.parametrize(
    ("setting", "flag"),
    [("groups", "group"), ("depictions", "depiction"), ("truncation", "truncated")],
)
def test_a_fraction_of_subjects_has_a_flag(setting, flag):
    off = subjects(20, make_studio(**CLEAN))
    on = subjects(20, make_studio(**CLEAN | {setting: 1.0}))
    assert not any(getattr(found, flag) for found in off)
    assert all(getattr(found, flag) for found in on)


def test_an_occluder_hides_a_part_of_most_subjects_and_nothing_else_does():
    off = subjects(30, make_studio(**CLEAN, parts=0.0))
    on = subjects(30, make_studio(**CLEAN | {"occlusion": 1.0}, parts=0.0))
    assert sum(found.occluded for found in off) == 0
    assert sum(found.occluded for found in on) >= 10  # of the others a corner is empty


def test_parts_lie_inside_their_wholes():
    studio = make_studio(**CLEAN, parts=1.0, max_others=0)
    wholes = [label for label in studio.classes if studio.parts(label)]
    num_parts = 0
    for seed, label in enumerate(wholes * 3):
        scene = lay_out(studio, label, seed, np.random.default_rng(seed))
        whole, *parts = annotate(scene).values()
        num_parts += len(parts)
        for part in parts:
            assert part.label in studio.parts(label)
            assert part.part_of == scene.subject
            assert whole.box[0] <= part.box[0] < part.box[1] <= whole.box[1]
            assert whole.box[2] <= part.box[2] < part.box[3] <= whole.box[3]
    assert num_parts > len(wholes)


class Cross:
    """A white square with two parts: its left half, and a corner of that."""

    def __init__(self) -> None:
        self.counts = {"a": 1, "b": 1}

    def cutout(self, label: str, number: int) -> Cutout:
        alpha = np.full((40, 40), 255, np.uint8)
        left, corner = np.zeros_like(alpha), np.zeros_like(alpha)
        left[:, :20] = corner[:10, :10] = 255
        parts = (CutoutPart("left", left), CutoutPart("corner", corner, whole=0))
        return Cutout(np.full((40, 40, 3), 255, np.uint8), alpha, "test", parts)


def test_the_parts_of_a_cutout_have_boxes_and_hide_nothing():
    root = {"LabelName": "top", "Subcategory": [{"LabelName": "a"}, {"LabelName": "b"}]}
    settings = Scenes(size=160, max_others=0, parts=1.0, **CLEAN)
    cross = Pictures([Cross()], None, 1, 0)
    studio = Studio(settings, ClassTree(root, {}), cross, ("a", "b"), np.array([0.5, 0.5]), 1)
    scene = lay_out(studio, "a", 0, np.random.default_rng(0))
    whole, left, corner = annotate(scene).values()
    assert (whole.label, left.label, corner.label) == ("a", "left", "corner")
    assert (left.part_of, corner.part_of) == (0, 1)
    assert not whole.occluded
    assert not left.occluded
    wide = whole.box[1] - whole.box[0]
    assert left.box[1] - left.box[0] == pytest.approx(wide / 2, abs=0.25 * wide)
    without = Studio(replace(settings, parts=0.0), *(getattr(studio, key) for key in REST))
    assert len(annotate(lay_out(without, "a", 0, np.random.default_rng(0)))) == 1


def test_a_whole_is_shown_from_inside_with_its_parts():
    studio = make_studio(**CLEAN | {"inside": 1.0})
    whole = next(label for label in studio.classes if studio.own_parts(label))
    scene = lay_out(studio, whole, 0, np.random.default_rng(0))
    room, *parts = annotate(scene).values()
    assert (room.label, room.box, room.inside) == (whole, (0, 1, 0, 1), 1)
    assert {part.label for part in parts} <= set(studio.own_parts(whole))
    assert parts


def test_a_class_shows_each_picture_once_before_any_again(studio):
    class Seven:
        counts = dict.fromkeys(studio.classes, 7)

    few = Studio(
        studio.settings,
        studio.tree,
        Pictures([Seven()], None, 1, 0),  # type: ignore[list-item]
        studio.classes,
        studio.weights,
        1,
    )
    label, other = studio.classes[:2]
    shown = [few.picture_number(label, occurrence) for occurrence in range(14)]
    assert sorted(shown[:7]) == list(range(7))
    assert shown[:7] == shown[7:]
    assert shown[:7] != [few.picture_number(other, occurrence) for occurrence in range(7)]


@pytest.fixture
def red_square_studio(tmp_path) -> Studio:
    """One photograph: a red square (one box) and a blue one (another) on green."""
    image = np.full((200, 200, 3), (0, 150, 0), np.uint8)
    image[60:140, 50:130] = (0, 0, 255)
    image[60:140, 150:190] = (255, 0, 0)
    images = tmp_path / "photos" / "images"
    images.mkdir(parents=True)
    cv2.imwrite(str(images / "a.jpg"), image, [cv2.IMWRITE_JPEG_QUALITY, 100])
    (tmp_path / "photos" / "x-annotations-bbox.csv").write_text(
        "ImageID,LabelName,XMin,XMax,YMin,YMax\n"
        "a,red,0.25,0.65,0.3,0.7\na,blue,0.75,0.95,0.3,0.7\na,unknown,0,1,0,1\n"
    )
    root = {"LabelName": "top", "Subcategory": [{"LabelName": "red"}, {"LabelName": "blue"}]}
    photographs = Photographs(tmp_path, {"red", "blue"})
    return Studio(
        Scenes(size=160, **CLEAN),
        ClassTree(root, {}),
        Pictures([photographs], photographs, 1, 0),
        ("red", "blue"),
        np.array([0.5, 0.5]),
        1,
    )


@pytest.mark.parametrize("seed", range(8))
def test_boxes_of_a_photograph_fit_the_pixels_of_its_crop(red_square_studio, seed):
    scene = lay_out(red_square_studio, "red", 0, np.random.default_rng(seed))
    found = {a.label: a for a in annotate(scene).values()}
    assert found["red"].source == "openimages/a"
    assert found["red"].occluded == UNKNOWN == found["red"].group
    channel = {"red": 2, "blue": 0}
    for label, annotated in found.items():
        image = scene.canvas.background.astype(int)
        rows, columns = np.nonzero(image[:, :, channel[label]] > 128)
        edges = (columns.min(), columns.max() + 1, rows.min(), rows.max() + 1)
        exact = np.array(annotated.box) * np.repeat(scene.size, 2)
        assert np.abs(exact - edges).max() <= 1.5


def test_a_photograph_that_would_lose_its_subject_is_no_scene(red_square_studio):
    """A tall crop of a wide box keeps less than three fifths of it: it is pasted instead."""
    wide = (0.02, 0.98, 0.4, 0.7)
    photograph = red_square_studio.pictures._photographs._objects["red"][0][0]  # type: ignore[union-attr]
    photograph.boxes[:] = [("red", wide)]
    red_square_studio.pictures._photographs._objects["red"] = [(photograph, wide)]  # type: ignore[union-attr]
    tall = Studio(
        Scenes(size=160, aspect_weights=(0.0, 0.0, 1.0), max_others=0, **CLEAN),
        *(getattr(red_square_studio, key) for key in REST),
    )
    scene = lay_out(tall, "red", 0, np.random.default_rng(0))
    assert len(scene.canvas.layers) == 1
    assert annotate(scene)[0].truncated == 0
