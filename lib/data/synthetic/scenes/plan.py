"""Plan of composed scenes: their ids, and of which class their subjects are, as arrays."""

import hashlib
from dataclasses import dataclass

import numpy as np

from lib.config.scenes import Scenes
from lib.data.synthetic.scenes.class_tree import ClassTree
from lib.errors import UserError

MIN_INSIDE_PARTS = 2  # kinds of parts of a whole that is shown from inside alone


@dataclass(frozen=True)
class ScenePlan:
    """Ids, subjects and pictures of all scenes; scenes to classify come last.

    classes: labels of the subjects, most frequent first. subject: int16 [scenes], row of `classes`.
    occurrence: int32 [scenes], how many scenes before this one have the same subject; it picks the
    picture. ids: of each scene, 16 hexadecimal digits, ascending within each side.
    """

    classes: tuple[str, ...]
    subject: np.ndarray
    occurrence: np.ndarray
    ids: tuple[str, ...]
    num_train: int


def subject_classes(
    tree: ClassTree, counts: dict[str, int], num_classes: int, seed: int
) -> tuple[str, ...]:
    """The labels that are subjects of scenes, most frequent first, in a random order.

    counts: pictures of each label. A class without pictures is a subject if it can be shown from
    inside, by the parts that itself has, as a building can.
    Raises UserError if there are fewer than two.
    """
    shown = [
        label
        for label in tree.labels
        if counts.get(label)
        or sum(part in counts for part in tree.own_parts(label)) >= MIN_INSIDE_PARTS
    ]
    if len(shown) < 2:
        raise UserError("scenes: the hierarchy and the pictures have fewer than two classes")
    order = np.random.default_rng([seed, 23]).permutation(len(shown))
    return tuple(shown[row] for row in order[:num_classes].tolist())


def power_law_counts(total: int, num_classes: int, exponent: float) -> np.ndarray:
    """int64 [num_classes] that add up to `total`: rank ** -exponent, rounded.

    What rounding leaves goes to the classes that lost most by it.
    """
    weights = np.arange(1, num_classes + 1, dtype=np.float64) ** -exponent
    exact = total * weights / weights.sum()
    counts = np.floor(exact).astype(np.int64)
    most_lost = np.argsort(counts - exact, kind="stable")
    counts[most_lost[: total - counts.sum()]] += 1
    return counts


def plan_scenes(settings: Scenes, classes: tuple[str, ...], seed: int) -> ScenePlan:
    """The plan of all scenes of both sides; both have the same power law."""
    rng = np.random.default_rng([seed, 24])
    sides = [settings.num_images, settings.num_test_images]
    subjects = [
        rng.permutation(
            np.repeat(
                np.arange(len(classes)), power_law_counts(num, len(classes), settings.power_law)
            )
        )
        for num in sides
    ]
    subject = np.concatenate(subjects).astype(np.int16)
    ids = [_scene_id(seed, scene) for scene in range(len(subject))]
    train = settings.num_images
    return ScenePlan(
        classes,
        subject,
        _occurrences(subject),
        (*sorted(ids[:train]), *sorted(ids[train:])),
        train,
    )


def _scene_id(seed: int, scene: int) -> str:
    return hashlib.blake2b(f"scene {seed} {scene}".encode(), digest_size=8).hexdigest()


def _occurrences(values: np.ndarray) -> np.ndarray:
    """int32 [n]: how many equal values come before each value."""
    order = np.argsort(values, kind="stable")
    ordered = values[order]
    starts = np.flatnonzero(np.r_[True, ordered[1:] != ordered[:-1]]) if len(values) else order
    first = np.repeat(starts, np.diff(np.r_[starts, len(values)]))
    occurrence = np.empty(len(values), np.int32)
    occurrence[order] = np.arange(len(values)) - first
    return occurrence
