"""The study of mending: three catalogs of the same scenes, compared by their true clusters."""

import pytest

from lib.errors import UserError
from studies import mending
from studies.mending import MENDED, PUBLISHED, TRUTH, Catalog


def test_an_image_that_a_catalog_leaves_out_is_wrong_in_it():
    truth = {"a": "car", "b": "dog", "c": "car", "d": "dog"}
    catalogs = {
        PUBLISHED: Catalog(["car"], {"a": "car", "c": "car", "d": "car"}),
        MENDED: Catalog(["car", "dog"], truth),
        TRUTH: Catalog(["car", "dog"], truth),
    }
    predicted = {
        PUBLISHED: [{"a": "car", "c": "car"}],  # d is in its locked part, b has no label
        MENDED: [{"a": "car", "b": "dog", "c": "dog", "d": "dog"}],
        TRUTH: [{"a": "car", "b": "dog", "c": "car"}],
    }
    lines = mending.to_markdown(catalogs, predicted, "title").splitlines()
    accuracies = [line.split(" | ")[1].split()[0] for line in lines[4:7]]
    assert accuracies == ["0.6667", "0.6667", "1.0000"]
    assert lines[-3] == "| as published | 1 | 3 | 100.0 | 1.0000 |"


def test_a_config_without_scenes_is_an_error():
    with pytest.raises(UserError, match=r"set scenes\.num_images"):
        mending.compose_scenes("configs/sample.toml", [])
