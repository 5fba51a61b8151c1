"""Figures of people: their parts lie within them, and classes differ as they should."""

import numpy as np
import pytest

from lib.data.synthetic.scenes.pictures.cutout import OPAQUE, Cutout, pose
from lib.data.synthetic.scenes.pictures.figures import HEIGHT, KINDS, Figures

NAMES = (
    *KINDS,
    *("Shirt", "Dress", "Jeans", "Footwear"),
    *("Human head", "Human face", "Human hair", "Human arm", "Human hand", "Human leg"),
)
LABEL_OF = {name.lower(): f"/m/{name}" for name in NAMES}


class RedClothes:
    """Red squares for clothes."""

    def __init__(self) -> None:
        self.counts = {"/m/Shirt": 1, "/m/Dress": 1, "/m/Jeans": 1}

    def cutout(self, label: str, number: int) -> Cutout:
        red = np.full((40, 40, 3), (0, 0, 255), np.uint8)
        return Cutout(red, np.full((40, 40), 255, np.uint8), "test")


@pytest.fixture(scope="module")
def figures() -> Figures:
    return Figures(RedClothes(), LABEL_OF, 1)


def names(cutout: Cutout) -> list[str]:
    return [part.label.removeprefix("/m/") for part in cutout.parts]


def test_classes_without_a_label_have_no_figures():
    assert set(Figures(RedClothes(), {"man": "a"}, 1).counts) == {"a"}


@pytest.mark.parametrize("kind", KINDS)
def test_parts_are_of_the_figure_and_belong_to_earlier_parts(figures, kind):
    for number in range(5):
        cutout = figures.cutout(f"/m/{kind}", number)
        assert cutout.alpha.shape[0] > 0.9 * HEIGHT
        assert {"Human head", "Human leg", "Footwear"} <= set(names(cutout))
        assert {"Shirt", "Dress"} & set(names(cutout))
        for place, part in enumerate(cutout.parts):
            assert part.label
            assert -1 <= part.whole < place
            assert part.alpha.shape == cutout.alpha.shape
            assert (cutout.alpha[part.alpha >= OPAQUE] >= OPAQUE).all()
        hands = [part for part in cutout.parts if part.label == "/m/Human hand"]
        assert [cutout.parts[hand.whole].label for hand in hands] == ["/m/Human arm"] * 2


def test_a_person_is_seen_from_behind_and_others_have_faces(figures):
    for number in range(4):
        assert "Human face" not in names(figures.cutout("/m/Person", number))
        assert "Human face" in names(figures.cutout("/m/Man", number))


def test_children_have_larger_heads(figures):
    def head(kind: str) -> float:
        cutout = figures.cutout(f"/m/{kind}", 0)
        part = cutout.parts[names(cutout).index("Human face")]
        return float((part.alpha >= OPAQUE).any(axis=1).sum())

    assert head("Boy") > 1.4 * head("Man")


def test_the_wardrobe_is_worn(figures):
    cutout = figures.cutout("/m/Woman", 1)
    assert (cutout.image == (0, 0, 255)).all(axis=2).sum() > 2000


def test_parts_are_posed_with_their_figure(figures):
    cutout = figures.cutout("/m/Man", 0)
    posed = pose(cutout, 140, 10, True)
    assert names(posed) == names(cutout)
    for before, after in zip(cutout.parts, posed.parts, strict=True):
        share = (before.alpha >= OPAQUE).sum() / (cutout.alpha >= OPAQUE).sum()
        assert (after.alpha >= OPAQUE).sum() / (posed.alpha >= OPAQUE).sum() == pytest.approx(
            share, abs=0.02
        )
        assert after.alpha.shape == posed.alpha.shape
