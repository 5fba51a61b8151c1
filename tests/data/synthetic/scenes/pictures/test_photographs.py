"""Photographs with boxes: their objects, and regions that no box touches."""

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lib.data.synthetic.scenes.pictures.photographs import Photographs, free_region


@st.composite
def some_boxes(draw):
    edges = st.lists(st.integers(0, 20), min_size=2, max_size=2, unique=True).map(sorted)
    boxes = []
    for _ in range(draw(st.integers(0, 4))):
        x, y = draw(edges), draw(edges)
        boxes.append((x[0] / 20, x[1] / 20, y[0] / 20, y[1] / 20))
    return boxes


@given(some_boxes())
def test_the_free_region_is_the_widest_strip_that_no_box_touches(boxes):
    columns, rows = np.zeros(20, bool), np.zeros(20, bool)
    for x_min, x_max, y_min, y_max in boxes:
        columns[round(20 * x_min) : round(20 * x_max)] = True
        rows[round(20 * y_min) : round(20 * y_max)] = True
    expected = max(longest_run(~columns), longest_run(~rows))
    x_min, x_max, y_min, y_max = free_region(boxes)
    assert (x_max - x_min) * (y_max - y_min) == pytest.approx(expected)


def longest_run(free: np.ndarray) -> float:
    best = run = 0
    for value in free:
        run = run + 1 if value else 0
        best = max(best, run)
    return best / len(free)


@pytest.fixture
def folder(tmp_path):
    """Photograph a has a box at the left, b is covered by one, c has no file."""
    images = tmp_path / "photos" / "images"
    images.mkdir(parents=True)
    for name, gray in (("a", 50), ("b", 90)):
        image = np.full((100, 120, 3), gray, np.uint8)
        image[:, :48] = 200
        cv2.imwrite(str(images / f"{name}.jpg"), image)
    (tmp_path / "photos" / "x-annotations-bbox.csv").write_text(
        "ImageID,LabelName,XMin,XMax,YMin,YMax\n"
        "a,car,0,0.4,0.1,0.9\nb,car,0,1,0,1\nc,car,0,1,0,1\n"
        "a,car,0.1,0.15,0.1,0.9\na,bus,0,0.4,0.1,0.9\nb,car,0.5,0.5,0,1\n"
    )
    return tmp_path


def test_boxes_of_known_classes_and_a_least_size_are_objects(folder):
    photographs = Photographs(folder, {"car"})
    assert photographs.counts == {"car": 2}
    cutout = photographs.cutout("car", 0)
    assert cutout.source == "openimages/a"
    assert cutout.image.shape == (80, 48, 3)
    assert np.abs(cutout.image.astype(int) - 200)[:, :40].max() < 6
    assert cutout.alpha[40, 24] == 255
    assert cutout.alpha[0, 0] == 0


def test_backgrounds_show_no_object(folder):
    photographs = Photographs(folder, {"car"})
    assert [region for _, region in photographs.backgrounds] == [(0.4, 1.0, 0.0, 1.0)]
    for width, height in ((30, 90), (300, 150), (16, 16)):
        image, source = photographs.background(7, width, height)
        assert source == "openimages/a"
        assert image.shape == (height, width, 3)
        assert np.abs(image[:, 3:].astype(int) - 50).mean() < 6


def test_only_large_objects_are_subjects(folder):
    photographs = Photographs(folder, {"car"})
    subject = photographs.subject("car", 1)
    assert subject is not None
    assert subject[1] == (0, 1, 0, 1)
    assert subject[0].source == "openimages/b"


def test_a_source_that_is_not_wanted_is_not_read(folder):
    assert Photographs(folder, {"car"}, ["raccoons", "drawings"]).counts == {}
    assert Photographs(folder, {"car"}, ["photographs"]).counts == {"car": 2}


def test_the_sealed_photographs_are_never_read(shared_data):
    sealed = {path.stem for path in (shared_data / "openimages/photos/sealed").rglob("*.jpg")}
    photographs = Photographs(shared_data / "openimages", {"/m/0k4j", "/m/07yv9", "/m/0dq75"})
    used = {p.path.stem for found in photographs._objects.values() for p, _ in found}
    used |= {p.path.stem for p, _ in photographs.backgrounds}
    assert sealed
    assert len(used) > 300
    assert not used & sealed
