"""Galleries of products: the most confident mistakes of a part."""

from collections.abc import Mapping

import numpy as np

from lib.data.catalog import Catalog
from lib.output.report.blocks import Block, Card, Choice, Gallery, Section, Text, missing
from lib.output.report.names import ClassNames
from lib.output.report.neighbors import Neighborhood
from lib.output.report.part import PartPredictions, TopClass
from lib.output.report.pictures import Pictures

NUM_MISTAKES, TOP_K = 150, 5  # of a part; a picture is about 3 kB, of the 15 MB of a page
NUM_WITH_NEIGHBORS = 100  # of them, whose neighbors are shown: eight pictures of 1.5 kB


def mistakes_section(
    part: PartPredictions,
    catalog: Catalog,
    names: ClassNames,
    pictures: Pictures,
    key: str,
    layers: Mapping[str, np.ndarray],
    near: Neighborhood,
) -> Section:
    """The wrong predictions with the highest probability.

    key: the anchor of the section. layers: by the name of a layer what it answers for each product
    of the part, int16 [Q], -1 for nothing. near: the labelled products.
    """
    lead = (
        "The wrong predictions with the highest probability: pictures, the label of the catalog,"
        " what each layer answers, the five most probable classes, and what is near. Some of these"
        " labels may be wrong, not the prediction."
    )
    title = f"Most confident mistakes, {part.origin}"
    wrong = np.flatnonzero(~part.correct)
    if not len(wrong):
        return Section(key, title, lead, missing("No prediction of this part is wrong."))
    chosen = wrong[np.argsort(-part.probability[wrong], kind="stable")[:NUM_MISTAKES]]
    cards = mistake_cards(part, chosen, catalog, names, pictures, layers, near)
    blocks: list[Block] = [Gallery(key, cards, part.origin)]
    if len(chosen) < len(wrong):
        blocks.append(Text(f"The first {len(chosen):,} of {len(wrong):,} mistakes are shown."))
    return Section(key, title, lead, blocks)


def mistake_cards(
    part: PartPredictions,
    index: np.ndarray,
    catalog: Catalog,
    names: ClassNames,
    pictures: Pictures,
    layers: Mapping[str, np.ndarray],
    near: Neighborhood,
) -> list[Card]:
    """A card for each of these products, int64 [n], positions in the part."""
    own = part.own_probability()
    products = part.product[index].tolist()
    shown = slice(NUM_WITH_NEIGHBORS)
    strips = near.strips(products[shown], part.label[index].tolist()[shown], folded=True)
    tops, uris = part.top_classes(index, TOP_K), pictures.of_products(products)
    cards = []
    for place, i in enumerate(index.tolist()):
        label, product = int(part.label[i]), products[place]
        facts = [("label", names.paths[label]), ("predicted", names.paths[int(part.best[i])])]
        facts += [(name, _answer(int(best[i]), label, names)) for name, best in layers.items()]
        choices = [
            choice(top, names, "truth" if top.class_id == label else "") for top in tops[place]
        ]
        if all(top.class_id != label for top in tops[place]):
            found = "not among the first five" if own[i] else "not a candidate"
            facts.append(("the label is", found))
        keys = [
            ("most confident", -float(part.probability[i])),
            ("least probable label", float(own[i])),
            ("order of the catalog", float(product)),
        ]
        title = f"Product {catalog.key(product)}"
        own_strips = strips[place] if place < len(strips) else []
        category = names.paths[label]
        cards.append(Card(title, uris[place], facts, choices, category, keys, own_strips))
    return cards


def _answer(class_id: int, label: int, names: ClassNames) -> str:
    """What a layer answers, in words."""
    if class_id < 0:
        return "nothing: no picture"
    return f"{names.short[class_id]}{' (right)' if class_id == label else ''}"


def choice(top: TopClass, names: ClassNames, mark: str) -> Choice:
    """A class as a line of a card."""
    value = f"{top.probability:.3f}"
    return Choice(names.short[top.class_id], value, min(top.probability, 1.0), mark)
