from collections import Counter

import numpy as np

from lib.output.report.blocks import Pairs
from lib.output.report.names import ClassNames
from lib.output.report.sections.confusions import confusion_section, confusions
from tests.output.report.parts import NoPictures, categories, part_of, random_part


def test_pairs_are_counted_as_by_hand():
    part = random_part(400, 5)
    pairs = zip(part.label.tolist(), part.best.tolist(), strict=True)
    counts = Counter(pair for pair in pairs if pair[0] != pair[1])
    found = confusions(part, 100)
    assert {pair[:2]: pair.number for pair in found} == counts
    assert [pair.number for pair in found] == sorted(counts.values(), reverse=True)


def test_a_pair_shows_its_most_confident_products_and_those_of_the_other_class():
    probs = [[0.2, 0.8], [0.1, 0.9], [0.3, 0.7], [0.4, 0.6], [0.8, 0.2]]
    part = part_of(probs, [0, 0, 1, 1, 0])
    section = confusion_section(part, ClassNames(categories(2)), NoPictures())
    block = section.blocks[0]
    assert isinstance(block, Pairs)
    (pair,) = block.pairs
    assert pair.detail == "2 of 3 products; the other way round 0"
    assert pair.left == ["picture of 1", "picture of 0"]
    assert pair.right == ["picture of 2", "picture of 3"]


def test_without_a_mistake_the_section_says_so():
    part = part_of(np.eye(3), [0, 1, 2])
    section = confusion_section(part, ClassNames(categories(3)), NoPictures())
    assert [block.missing for block in section.blocks] == [True]
