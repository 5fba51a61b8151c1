"""Draws a sample catalogue in Cdiscount's own format, with the structure that the methods live on.

    facts = generate(Path("work/sample"), Sample(), seed=1)

The whole structure is decided first with arrays (about 100 bytes a product): ids, classes, labels
and which picture stands in which slot. Then the pictures are drawn one by one while the files are
written; a copy is drawn again from its owner's seed, so memory does not grow with the pictures.

- Ids grow with gaps. A seller lists a run of products of one class, and few sellers overlap at
  any place, so near ids have like classes. Test products lie evenly among the others.
- Variants of a product, near in id, share a picture (`copies`). Pictures of one seller also stand
  under several labels (`conflicts`), and placeholders under very many.
- `label_noise` of the products carry a label that is not what their pictures show.

The dials are targets for the realised shares, which come back as facts; a catalogue of some
hundred products cannot hit the rare ones, and what is far off is warned of. The same dials, seed
and versions of numpy and OpenCV give the same bytes.
"""

import csv
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path

import bson
import numpy as np
from tqdm import tqdm

from lib.catalogue import drawing
from lib.config import Sample
from lib.errors import UserError

# Streams of random numbers, each from (seed, stream, ...). lib.catalogue.drawing uses 1 to 3.
PRODUCT_STREAM, VIEW_STREAM, PLAN_STREAM, ORDER_STREAM, NAMES_STREAM = 4, 5, 10, 11, 12

LEAVES_A_FAMILY, FAMILIES_A_DEPARTMENT = 4, 3
MEAN_GAP = 2  # extra numbers between two ids: the real ids reach 2.7 times the products
STRAYS = 0.2  # share of products listed apart from any seller's run
SIBLING_ERRORS = 0.5  # share of wrong labels that stay within the family
PLACEHOLDER_SHARE = 0.01  # of train images
CONFLICT_GROUP = 8  # most slots that a conflicting picture fills; at least 2
VARIANTS = 9.0  # mean number of slots that a copied picture fills within one label
FAR_COPIES = 0.2  # share of slots that look for their copies anywhere, not near in id
NEIGHBOURS = 3  # a test product shares with one of so many train pictures on either side in id
CACHED_PICTURES = 10_000  # encoded, about 3 kB each at 64 pixels
WARN_ABOVE = 0.02  # distance of a realised share from its dial


@dataclass(frozen=True)
class Plan:
    """All that is decided before the first picture is drawn. Products in id order.

    A slot is one picture of one product; those of product p are first[p] .. first[p + 1].
    """

    product_id: np.ndarray  # int32 [P], rising
    test: np.ndarray  # bool [P]
    kind: np.ndarray  # int16 [P]: the class that the pictures show
    label: np.ndarray  # int16 [P]: the class that the catalogue says
    first: np.ndarray  # int64 [P + 1]
    picture: np.ndarray  # int64 [slots]: the slot whose picture it shows; -1 - k: placeholder k
    category_id: np.ndarray  # int32 [classes]
    family: np.ndarray  # int64 [classes]: level-2 node
    department: np.ndarray  # int64 [classes]: level-1 node

    @property
    def slot_product(self) -> np.ndarray:
        """Product of each slot, int64 [slots]."""
        return np.repeat(np.arange(len(self.kind)), np.diff(self.first))


def generate(folder: Path, dials: Sample, seed: int) -> dict[str, float]:
    """Write train.bson, test.bson, category_names.csv and test_labels.csv; return the facts.

    The facts are the numbers of products and images and the realised shares, named as the dials.
    Raises UserError for a dial that cannot be.
    """
    drawn = plan(dials, seed)
    realised = shares(drawn)
    for name, value in realised.items():
        if abs(value - getattr(dials, name)) > WARN_ABOVE:
            print(f"warning: sample.{name} is {getattr(dials, name)}, drawn {value:.3f}: this"
                  " catalogue is too small for it, or other dials stand against it",
                  file=sys.stderr)
    folder.mkdir(parents=True, exist_ok=True)
    _write_categories(folder / "category_names.csv", drawn)
    _write_test_labels(folder / "test_labels.csv", drawn)
    recipes = drawing.recipes(drawn.department, drawn.family, seed)
    paint = lru_cache(CACHED_PICTURES)(
        partial(_paint, drawn, drawn.slot_product, recipes, dials, seed)
    )
    order = np.random.default_rng([seed, ORDER_STREAM])
    for name, rows in (("train", ~drawn.test), ("test", drawn.test)):
        shuffled = order.permutation(np.flatnonzero(rows))
        _write_products(folder / f"{name}.bson", drawn, shuffled, paint, name == "train")
    images = int(np.diff(drawn.first)[~drawn.test].sum())
    return {
        "train_products": int((~drawn.test).sum()),
        "test_products": int(drawn.test.sum()),
        "train_images": images,
        "test_images": len(drawn.picture) - images,
    } | realised


def plan(dials: Sample, seed: int) -> Plan:
    """The structure of the catalogue, without a picture. Raises UserError for impossible dials."""
    _check(dials)
    rng = np.random.default_rng([seed, PLAN_STREAM])
    products = dials.train_products + dials.test_products
    category_id, family, department = _tree(dials.classes, seed)
    kind = _kinds(rng, dials, products)
    test = _evenly(rng, dials.test_products, products)
    label, wrong = _labels(rng, kind, family, dials.label_noise)
    weights = np.array(dials.image_counts) / sum(dials.image_counts)
    counts = 1 + rng.choice(len(weights), products, p=weights)
    first = np.concatenate([[0], np.cumsum(counts)])
    pictures = _Pictures(rng, first, kind, label, test, wrong)
    pictures.share_within_train(dials)
    pictures.share_with_test(dials)
    return Plan(
        product_id=np.cumsum(rng.integers(1, 2 * MEAN_GAP + 1, products)).astype(np.int32),
        test=test,
        kind=kind,
        label=label,
        first=first,
        picture=pictures.picture,
        category_id=category_id,
        family=family,
        department=department,
    )


def shares(drawn: Plan) -> dict[str, float]:
    """The realised shares, under the names of their dials."""
    product = drawn.slot_product
    train = ~drawn.test[product]
    picture = np.unique(drawn.picture, return_inverse=True)[1]
    classes = len(drawn.family)
    pairs = np.unique(picture[train] * classes + drawn.label[product[train]])
    labels = np.bincount(pairs // classes, minlength=len(picture))  # of each picture, in train
    distinct = max(1, int((labels > 0).sum()))
    tests = max(1, int(drawn.test.sum()))
    shared = np.unique(product[~train & (labels[picture] > 0)])
    # All the train labels of all pictures of a test product: unambiguous if they are one class.
    label_of = np.zeros(len(picture), np.int64)
    label_of[pairs // classes] = pairs % classes
    held = np.flatnonzero(~train & (labels[picture] > 0))
    known = np.unique(product[held] * classes + label_of[picture[held]])
    several = product[held][labels[picture[held]] > 1]
    twice = np.flatnonzero(np.bincount(known // classes, minlength=len(drawn.kind)) > 1)
    ambiguous = np.union1d(several, twice)
    return {
        "copies": 1 - distinct / max(1, int(train.sum())),
        "conflicts": int((labels > 1).sum()) / distinct,
        "test_shared": len(shared) / tests,
        "test_unambiguous": (len(shared) - len(ambiguous)) / tests,
        "label_noise": float(np.mean(drawn.kind != drawn.label)),
    }


def _check(dials: Sample) -> None:
    def need(good: bool, name: str, rule: str) -> None:
        if not good:
            raise UserError(f"sample.{name} = {getattr(dials, name)}: {rule}")

    need(dials.train_products >= 1, "train_products", "at least 1")
    need(dials.test_products >= 0, "test_products", "at least 0")
    need(2 <= dials.classes <= np.iinfo(np.int16).max, "classes", "from 2 to 32,767")
    need(16 <= dials.image_size <= 4096, "image_size", "from 16 to 4096 pixels")
    weights = dials.image_counts
    need(bool(weights) and min(weights) >= 0 and sum(weights) > 0, "image_counts",
         "weights of 1, 2, ... images, none below 0 and one above")  # fmt: skip
    for name in ("copies", "conflicts", "test_shared", "label_noise", "difficulty"):
        need(0 <= getattr(dials, name) <= 1, name, "a share from 0 to 1")
    need(0 <= dials.test_unambiguous <= dials.test_shared, "test_unambiguous",
         "from 0 to sample.test_shared, of which it is a part")  # fmt: skip
    need(dials.placeholders >= 0, "placeholders", "at least 0")
    need(dials.tail >= 0, "tail", "at least 0")
    need(dials.batch >= 1, "batch", "at least 1 product")


def _tree(classes: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Category ids like Cdiscount's, and the family and department of each class."""
    numbers = np.random.default_rng([seed, NAMES_STREAM]).permutation(20 * classes)[:classes]
    family = np.arange(classes) // LEAVES_A_FAMILY
    return (1_000_000_000 + numbers).astype(np.int32), family, family // FAMILIES_A_DEPARTMENT


def _kinds(rng: np.random.Generator, dials: Sample, products: int) -> np.ndarray:
    """Class of each product in id order, int16 [products]: Zipf sizes, dealt in sellers' runs.

    A run holds `batch` / 2 products of one class, spread over `batch` ids: at any place two
    sellers' runs overlap, and strays lie between.
    """
    weights = 1.0 / (1 + rng.permutation(dials.classes)) ** dials.tail
    ends = np.rint(np.cumsum(weights) / weights.sum() * products).astype(np.int64)
    kind = np.repeat(np.arange(dials.classes), np.diff(ends, prepend=0))
    starts = rng.random(products) < min(1.0, 2 / dials.batch)
    starts |= np.diff(kind, prepend=-1) != 0
    place = rng.uniform(0, products, products)[np.cumsum(starts) - 1]
    place += rng.uniform(0, dials.batch, products)
    stray = rng.random(products) < STRAYS
    place[stray] = rng.uniform(0, products, int(stray.sum()))
    return kind[np.argsort(place, kind="stable")].astype(np.int16)


def _evenly(rng: np.random.Generator, chosen: int, of: int) -> np.ndarray:
    """Mask bool [of] with `chosen` true entries, one at random in each of as many equal parts."""
    edges = np.arange(chosen + 1) * of // max(chosen, 1)
    mask = np.zeros(of, bool)
    mask[rng.integers(edges[:-1], edges[1:])] = True
    return mask


def _labels(
    rng: np.random.Generator, kind: np.ndarray, family: np.ndarray, noise: float
) -> tuple[np.ndarray, np.ndarray]:
    """Labels int16 [P] of which the share `noise` is wrong, and the mask of the wrong ones."""
    wrong = np.zeros(len(kind), bool)
    wrong[rng.permutation(len(kind))[: round(noise * len(kind))]] = True
    at = np.flatnonzero(wrong)
    own, classes = kind[at].astype(np.int64), len(family)
    other = (own + rng.integers(1, classes, len(at))) % classes
    begin = np.searchsorted(family, family[own])
    leaves = np.searchsorted(family, family[own], side="right") - begin
    sibling = begin + (own - begin + rng.integers(1, np.maximum(leaves, 2))) % leaves
    near = (leaves > 1) & (rng.random(len(at)) < SIBLING_ERRORS)
    label = kind.copy()
    label[at] = np.where(near, sibling, other)
    return label, wrong


class _Pictures:
    """Decides which slots show the same picture. At first each shows its own."""

    def __init__(
        self,
        rng: np.random.Generator,
        first: np.ndarray,
        kind: np.ndarray,
        label: np.ndarray,
        test: np.ndarray,
        wrong: np.ndarray,
    ) -> None:
        self.rng, self.first = rng, first
        self.product = np.repeat(np.arange(len(kind)), np.diff(first))
        self.position = np.arange(first[-1]) - first[self.product]
        self.kind, self.label = kind[self.product].astype(np.int64), label[self.product]
        self.test, self.wrong = test[self.product], wrong[self.product]
        self.test_products = np.flatnonzero(test)
        self.picture = np.arange(first[-1])
        self.free = ~self.test  # train slots that still show their own picture
        self.conflicting = np.zeros(len(self.free), bool)

    def share_within_train(self, dials: Sample) -> None:
        """Fill slots with copies until `copies` of the train images are one."""
        images = int(self.free.sum())
        copies = round(dials.copies * images)
        conflicts = round(dials.conflicts * (images - copies))
        used, copied = self._placeholders(dials.placeholders, images)
        copied += self._conflicts(max(0, conflicts - used))
        self._variants(max(0, copies - copied))

    def _placeholders(self, number: int, images: int) -> tuple[int, int]:
        """Returns how many placeholders came into use and how many copies they make."""
        slots = self.rng.permutation(np.flatnonzero(self.free))
        slots = slots[: round(PLACEHOLDER_SHARE * images) if number else 0]
        weights = 1.0 / np.arange(1, number + 1)
        which = self.rng.choice(number, len(slots), p=weights / weights.sum()) if number else slots
        self.picture[slots] = -1 - which
        self.free[slots], self.conflicting[slots] = False, True
        used = len(np.unique(which))
        return used, len(slots) - used

    def _conflicts(self, number: int) -> int:
        """Give `number` groups of neighbours in id, of two labels at least, one picture each."""
        slots = np.flatnonzero(self.free)
        groups = slots[: len(slots) // CONFLICT_GROUP * CONFLICT_GROUP].reshape(-1, CONFLICT_GROUP)
        sizes = self.rng.integers(2, CONFLICT_GROUP + 1, len(groups))
        member = np.arange(CONFLICT_GROUP) < sizes[:, None]
        labels = self.label[groups]
        differ = np.flatnonzero(((labels != labels[:, :1]) & member).any(1))
        chosen = self.rng.permutation(differ)[:number]
        groups, member = groups[chosen], member[chosen]
        self.picture[groups[member]] = np.repeat(groups[:, 0], member.sum(1))
        self.free[groups[member]], self.conflicting[groups[member]] = False, True
        return int(member.sum()) - len(chosen)

    def _variants(self, number: int) -> None:
        """Turn exactly `number` slots (or all that can be) into copies within their label.

        Slots are put in order of label, position and id; a link joins a slot to the one before.
        Runs of links of a heavy-tailed length are set first, then single links are set or cut.
        """
        slots = np.flatnonzero(self.free & ~self.wrong)
        place = self.product[slots].astype(np.float64)
        far = self.rng.random(len(slots)) < FAR_COPIES
        place[far] = self.rng.uniform(0, len(self.first), int(far.sum()))
        slots = slots[np.lexsort((place, self.position[slots], self.label[slots]))]
        possible = np.zeros(len(slots), bool)
        possible[1:] = (np.diff(self.label[slots]) == 0) & (np.diff(self.position[slots]) == 0)
        link = self._runs(len(slots), number) & possible
        surplus = int(link.sum()) - number
        change = np.flatnonzero(link if surplus > 0 else possible & ~link)
        link[self.rng.permutation(change)[: abs(surplus)]] ^= True
        owner = slots[np.maximum.accumulate(np.where(link, 0, np.arange(len(slots))))]
        self.picture[slots] = owner

    def _runs(self, length: int, links: int) -> np.ndarray:
        """Mask bool [length] with about `links` entries in runs, pauses of any length between."""
        filled = max(1.0, links * VARIANTS / (VARIANTS - 1))  # slots in a group, with the owners
        pause = max(0.0, VARIANTS * (length - filled) / filled)
        number = int(length / (VARIANTS + pause) * 2) + 10
        runs = 2 + np.minimum(self.rng.pareto(1.5, number) * (VARIANTS - 2) / 2, 200).astype(int)
        pauses = self.rng.geometric(1 / (1 + pause), number) - 1
        ends = np.cumsum(runs + pauses)
        begins = ends - runs
        mark = np.zeros(length + 1, np.int64)
        np.add.at(mark, np.minimum(begins + 1, length), 1)
        np.add.at(mark, np.minimum(ends, length), -1)
        return np.cumsum(mark)[:length] > 0

    def share_with_test(self, dials: Sample) -> None:
        """Let one slot of each chosen test product show a picture of train."""
        products = self.rng.permutation(self.test_products)
        shared, clear = (
            round(share * len(products)) for share in (dials.test_shared, dials.test_unambiguous)
        )
        counts = np.diff(self.first)[products]
        slots = self.first[products] + self.rng.integers(0, counts)
        self._copy_to_test(slots[:clear], ~self.test & ~self.conflicting, self.kind, near=True)
        self._copy_to_test(slots[clear:shared], self.conflicting, self.label, near=False)

    def _copy_to_test(
        self, slots: np.ndarray, allowed: np.ndarray, group: np.ndarray, near: bool
    ) -> None:
        """Give each slot the picture of an allowed one, of the same `group` where there is one."""
        pool = np.flatnonzero(allowed)
        if not len(pool):
            return
        pool = pool[np.argsort(group[pool], kind="stable")]  # by group, then by id
        begin = np.searchsorted(group[pool], group[slots])
        end = np.searchsorted(group[pool], group[slots], side="right")
        lone = begin == end
        begin[lone], end[lone] = 0, len(pool)
        at = self.rng.integers(begin, end)
        if near:
            size = len(self.picture)
            key = group.astype(np.int64) * size + np.arange(size)
            beside = np.searchsorted(key[pool], key[slots])
            beside += self.rng.integers(-NEIGHBOURS, NEIGHBOURS, len(slots))
            at = np.where(lone, at, np.clip(beside, begin, end - 1))
        self.picture[slots] = self.picture[pool[at]]


def _paint(
    drawn: Plan,
    slot_product: np.ndarray,
    recipes: list[drawing.Recipe],
    dials: Sample,
    seed: int,
    picture: int,
) -> bytes:
    """JPEG of one picture of the plan, from its own seeds, so that every copy is equal."""
    if picture < 0:
        return drawing.encode(drawing.draw_placeholder(-1 - picture, dials.image_size))
    product = int(slot_product[picture])
    return drawing.encode(
        drawing.draw(
            recipes[drawn.kind[product]],
            np.random.default_rng([seed, PRODUCT_STREAM, product]),
            np.random.default_rng([seed, VIEW_STREAM, picture]),
            picture - int(drawn.first[product]),
            dials.image_size,
            dials.difficulty,
        )
    )


def _write_products(
    path: Path, drawn: Plan, rows: np.ndarray, paint: Callable[[int], bytes], labelled: bool
) -> None:
    """BSON documents with the keys in the order of the competition's own files."""
    with path.open("wb", buffering=1 << 20) as file:
        for row in tqdm(rows.tolist(), desc=f"draw {path.name}", unit="product", disable=None):
            pictures = drawn.picture[drawn.first[row] : drawn.first[row + 1]].tolist()
            document = {
                "_id": int(drawn.product_id[row]),
                "imgs": [{"picture": paint(picture)} for picture in pictures],
            }
            if labelled:
                document["category_id"] = int(drawn.category_id[drawn.label[row]])
            file.write(bson.encode(document))


def _write_categories(path: Path, drawn: Plan) -> None:
    with path.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["category_id", *(f"category_level{level}" for level in (1, 2, 3))])
        for leaf, category in enumerate(drawn.category_id.tolist()):
            department, family = drawn.department[leaf], drawn.family[leaf]
            writer.writerow(
                [
                    category,
                    f"DEPARTMENT {department + 1}",
                    f"DEPARTMENT {department + 1} - FAMILY {family + 1}",
                    f"FAMILY {family + 1} - MODEL {leaf + 1}",
                ]
            )


def _write_test_labels(path: Path, drawn: Plan) -> None:
    with path.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["_id", "category_id"])
        rows = np.flatnonzero(drawn.test)
        categories = drawn.category_id[drawn.label[rows]]
        writer.writerows(zip(drawn.product_id[rows].tolist(), categories.tolist(), strict=True))
