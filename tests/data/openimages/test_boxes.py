import numpy as np
import pytest

from lib.data.openimages.boxes import (
    BOX_TYPES,
    Boxes,
    ImageLabels,
    read_boxes,
    read_image_labels,
    write_boxes,
    write_image_labels,
)


def make_boxes(image: list[int], num_images: int) -> Boxes:
    """Boxes of these images; every other column is a number of its own."""
    columns = {
        name: (np.arange(len(image)) * 3 + place).astype(kind)
        for place, (name, kind) in enumerate(BOX_TYPES.items())
    }
    return Boxes(**columns | {"image": np.array(image, np.int32)}, num_images=num_images)


def test_boxes_are_read_as_they_were_written(tmp_path):
    boxes = make_boxes([0, 0, 2, 5], num_images=7)
    write_boxes(tmp_path, boxes)
    read = read_boxes(tmp_path)
    assert read.num_images == 7
    for name, kind in BOX_TYPES.items():
        values = getattr(read, name)
        assert values.dtype == kind
        np.testing.assert_array_equal(values, getattr(boxes, name))


@pytest.mark.parametrize("image", [[], [0], [0, 0, 2, 5], [6, 6, 6]])
def test_the_boxes_of_an_image_are_a_slice(image):
    boxes = make_boxes(image, num_images=7)
    starts = boxes.starts()
    for row in range(7):
        expected = [place for place, number in enumerate(image) if number == row]
        assert list(range(len(image)))[boxes.of_image(row)] == expected
        assert list(range(starts[row], starts[row + 1])) == expected


def test_selected_boxes_keep_their_images():
    boxes = make_boxes([0, 0, 2, 5], num_images=7).select(np.array([1, 3]))
    assert boxes.image.tolist() == [0, 5]
    assert boxes.class_row.tolist() == [4, 10]
    assert boxes.num_images == 7


def test_the_area_is_a_fraction_of_the_image():
    boxes = make_boxes([0], num_images=1)
    object.__setattr__(boxes, "x_min", np.array([0.25]))
    object.__setattr__(boxes, "x_max", np.array([0.75]))
    object.__setattr__(boxes, "y_min", np.array([0.0]))
    object.__setattr__(boxes, "y_max", np.array([0.5]))
    assert boxes.area().tolist() == [0.25]


def test_labels_of_images_are_optional(tmp_path):
    assert read_image_labels(tmp_path) is None
    labels = ImageLabels(
        np.array([0, 3], np.int32), np.array([1, 2], np.int16), np.array([1, 0], np.int8)
    )
    write_image_labels(tmp_path, labels)
    read = read_image_labels(tmp_path)
    assert read is not None
    assert read.image.tolist() == [0, 3]
    assert read.class_row.tolist() == [1, 2]
    assert read.present.tolist() == [1, 0]
