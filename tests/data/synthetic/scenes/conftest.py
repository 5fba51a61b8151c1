"""A small studio of generated pictures, and scenes laid out in it."""

import numpy as np
import pytest

from lib.config.scenes import Scenes
from lib.data.synthetic.scenes.class_tree import generate_tree
from lib.data.synthetic.scenes.layout import Studio
from lib.data.synthetic.scenes.pictures.collection import open_pictures
from lib.data.synthetic.scenes.plan import subject_classes


def make_studio(num_classes: int = 40, seed: int = 1, **changes: object) -> Studio:
    settings = Scenes(size=96, **changes)  # type: ignore[arg-type]
    tree = generate_tree(num_classes, seed)
    pictures = open_pictures("", (), tree, settings.difficulty, seed)
    classes = subject_classes(tree, pictures.counts, num_classes, seed)
    weights = np.full(len(classes), 1 / len(classes))
    return Studio(settings, tree, pictures, classes, weights, seed)


@pytest.fixture(scope="session")
def studio() -> Studio:
    return make_studio()
