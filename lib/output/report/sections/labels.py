"""Labels that are likely wrong, and repeated pictures whose labels disagree."""

from collections.abc import Sequence

import numpy as np

from lib.data.catalog import Catalog
from lib.output.report.blocks import (
    ALL_LABELLED,
    Block,
    Card,
    Choice,
    Gallery,
    Section,
    Text,
    missing,
    percent,
)
from lib.output.report.confident_learning import LabelIssues
from lib.output.report.names import ClassNames
from lib.output.report.part import PartPredictions
from lib.output.report.pictures import Pictures
from lib.output.report.repeated_pictures import RepeatedImages, RepeatedPicture
from lib.output.report.sections.gallery import TOP_K, choice

NUM_ISSUES, NUM_PICTURES = 100, 40  # shown


def labels_section(
    part: PartPredictions,
    issues: LabelIssues,
    num_listed: int,
    catalog: Catalog,
    names: ClassNames,
    pictures: Pictures,
) -> Section:
    """Products whose label is likely wrong. num_listed: of them in label_issues.csv."""
    lead = (
        "By confident learning: the networks and boosters that did not see a label are surer of"
        " another class than its own products are of it on average. A suspicion, for a person to"
        " decide; submit/label_issues.csv has the same for a spreadsheet or for Label Studio."
    )
    if not len(issues.position):
        text = "No label is suspicious."
        return Section("labels", "Likely wrong labels", lead, missing(text))
    number, total = len(issues.position), len(part.product)
    text = (
        f"{number:,} of {total:,} labels ({percent(number / total)}) are suspicious; the surest"
        f" {min(NUM_ISSUES, number):,} are shown, {num_listed:,} are in the CSV file."
    )
    blocks: list[Block] = [Text(text)]
    blocks.append(Gallery("labels", _cards(part, issues, catalog, names, pictures), part.origin))
    return Section("labels", "Likely wrong labels", lead, blocks)


def _cards(
    part: PartPredictions,
    issues: LabelIssues,
    catalog: Catalog,
    names: ClassNames,
    pictures: Pictures,
) -> list[Card]:
    index = issues.position[:NUM_ISSUES]
    products, own = part.product[index].tolist(), part.own_probability()
    uris, tops = pictures.of_products(products), part.top_classes(index, TOP_K)
    cards = []
    for place, i in enumerate(index.tolist()):
        label, suggested = int(part.label[i]), int(issues.suggested[place])
        marks = {label: "label", suggested: "suggestion"}
        facts = [
            ("label", f"{names.paths[label]} ({own[i]:.3f})"),
            ("suggested", f"{names.paths[suggested]} ({issues.probability[place]:.3f})"),
        ]
        choices = [choice(top, names, marks.get(top.class_id, "")) for top in tops[place]]
        keys = [
            ("largest margin", -float(issues.margin[place])),
            ("order of the catalog", float(products[place])),
        ]
        title = f"Product {catalog.key(products[place])}"
        cards.append(Card(title, uris[place], facts, choices, names.paths[label], keys))
    return cards


def repeated_section(
    found: dict[str, RepeatedImages], catalog: Catalog, names: ClassNames, pictures: Pictures
) -> Section:
    """Repeated pictures whose labels disagree. found: by the name of the hash."""
    lead = (
        "One picture in products of several classes: all but one of these labels are wrong, or the"
        " picture says nothing of the class, such as a logo or a placeholder."
    )
    blocks: list[Block] = []
    for name, repeated in found.items():
        text = (
            f"By {name}: {repeated.num_repeats:,} images are copies of another one"
            f" ({repeated.num_hashes:,} different pictures)."
        )
        if not repeated.pictures:
            blocks.append(Text(f"{text} The labels of all of them agree."))
            continue
        shown = repeated.pictures[:NUM_PICTURES]
        blocks.append(Text(f"{text} The {len(shown)} with the most products of several classes:"))
        uris = pictures.of_images([picture.image for picture in shown])
        cards = [
            _picture_card(picture, uri, catalog, names)
            for picture, uri in zip(shown, uris, strict=True)
        ]
        key = f"repeated-{'-'.join(name.split())}"
        blocks.append(Gallery(key, cards, ALL_LABELLED))
    return Section("repeated", "Repeated pictures whose labels disagree", lead, blocks)


def _picture_card(picture: RepeatedPicture, uri: str, catalog: Catalog, names: ClassNames) -> Card:
    classes, counts = np.unique(picture.label, return_counts=True)
    order = np.argsort(-counts, kind="stable")[:TOP_K]
    total, majority = len(picture.products), picture.majority
    choices = [
        Choice(
            names.short[c],
            f"{counts[i]:,}",
            counts[i] / total,
            "suggestion" if c == majority else "",
        )
        for i, c in zip(order.tolist(), classes[order].tolist(), strict=True)
    ]
    facts = [("classes", f"{len(classes):,}"), ("products", _listed(picture.products, catalog))]
    keys = [("most products", -float(total)), ("order of the catalog", float(picture.products[0]))]
    title = f"{total:,} products"
    return Card(title, [uri], facts, choices, names.paths[int(classes[order[0]])], keys)


def _listed(products: np.ndarray, catalog: Catalog, most: int = 6) -> str:
    keys: Sequence[str] = [catalog.key(product) for product in products[:most].tolist()]
    return ", ".join(keys) + (", ..." if len(products) > most else "")
