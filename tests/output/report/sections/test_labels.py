import numpy as np

from lib.output.report.blocks import Gallery, Text
from lib.output.report.confident_learning import find_label_issues
from lib.output.report.names import ClassNames
from lib.output.report.repeated_pictures import repeated_images
from lib.output.report.sections.labels import labels_section, repeated_section
from tests.output.report.parts import NoPictures, catalog_of, categories, part_of

NAMES = ClassNames(categories(2))


def test_a_suspicious_label_is_shown_with_the_suggestion():
    probs = [[0.9, 0.1]] * 5 + [[0.1, 0.9]] * 6
    label = [0] * 5 + [1] * 5 + [0]
    part = part_of(probs, label)
    issues = find_label_issues(part, 2)
    section = labels_section(part, issues, 1, catalog_of(label), NAMES, NoPictures())
    text, block = section.blocks
    assert isinstance(block, Gallery)
    assert text.text.startswith("1 of 11 labels (9.1 %) are suspicious")
    (card,) = block.cards
    assert card.title == "Product 1010"
    assert [choice.mark for choice in card.choices] == ["suggestion", "label"]


def test_labels_above_suspicion_are_said_to_be():
    part = part_of(np.eye(2)[[0, 1, 0, 1]], [0, 1, 0, 1])
    issues = find_label_issues(part, 2)
    section = labels_section(part, issues, 0, catalog_of([0, 1, 0, 1]), NAMES, NoPictures())
    assert [block.missing for block in section.blocks] == [True]


def test_a_repeated_picture_shows_its_classes_and_products():
    catalog = catalog_of([1, 1, 0, 0])
    catalog.md5[:3] = 7
    found = {"equal bytes": repeated_images(catalog, catalog.md5, 9)}
    text, block = repeated_section(found, catalog, NAMES, NoPictures()).blocks
    assert text.text.startswith("By equal bytes: 2 images are copies of another one (1 different")
    (card,) = block.cards
    assert card.facts == [("classes", "2"), ("products", "1000, 1001, 1002")]
    assert [(choice.value, choice.mark) for choice in card.choices] == [
        ("2", "suggestion"),
        ("1", ""),
    ]
    assert card.pictures == ["image 0"]


def test_repeats_whose_labels_agree_are_only_counted():
    catalog = catalog_of([1, 1, 0])
    catalog.md5[:2] = 7
    found = {"equal bytes": repeated_images(catalog, catalog.md5, 9)}
    (text,) = repeated_section(found, catalog, NAMES, NoPictures()).blocks
    assert isinstance(text, Text)
    assert text.text.endswith("The labels of all of them agree.")
