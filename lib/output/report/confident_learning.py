"""Confident learning: which labels are likely wrong, from out-of-fold probabilities.

A class has a threshold, the mean probability of the class over the products that are labelled so.
A product whose most probable class, of those that reach their threshold, is not its label counts
as one of that class under a wrong label. These counts, scaled to the number of products of each
label, say how many labels of one class belong to another; as many products are named, those first
whose suggested class is more probable than the label by the largest margin.

Only candidates of a product have a probability; all other classes have 0, which reaches no
threshold. So the counts are exact without a matrix of products by classes.

Source: Northcutt, Jiang and Chuang 2021, Confident Learning: Estimating Uncertainty in Dataset
Labels (thresholds, the confident joint and its calibration, pruning by noise rate).
"""

from typing import NamedTuple

import numpy as np

from lib.output.report.part import PartPredictions
from lib.utils.groups import group_argmax


class LabelIssues(NamedTuple):
    """Products whose label is likely wrong, the largest margin first.

    position: int64 [n], in the part. suggested: int16 [n]. probability, of the suggested
    class, and margin, by which it is more probable than the label: float32 [n].
    """

    position: np.ndarray
    suggested: np.ndarray
    probability: np.ndarray
    margin: np.ndarray


class ConfidentJoint(NamedTuple):
    """Pairs of a label and the class that products with it confidently are.

    label, true: int16 [K], every pair that occurs. number: int64 [K], products of each pair.
    """

    label: np.ndarray
    true: np.ndarray
    number: np.ndarray


def class_thresholds(part: PartPredictions, num_classes: int) -> np.ndarray:
    """Mean probability of each class over the products labelled so: float64 [C].

    Infinite for a class without products or whose products never have it as a candidate: nothing
    reaches it.
    """
    count = np.bincount(part.label, minlength=num_classes)
    total = np.bincount(part.label, part.own_probability(), num_classes)
    return np.where(total > 0, total / np.maximum(count, 1), np.inf)


def confident_classes(part: PartPredictions, num_classes: int) -> np.ndarray:
    """The most probable class of each product that reaches its threshold: int16 [Q]; -1: none."""
    thresholds = class_thresholds(part, num_classes)
    reaches = part.row_probability >= thresholds[part.row_class]
    product, class_id = part.row_product[reaches], part.row_class[reaches]
    best = group_argmax(part.row_probability[reaches], product)
    found = np.full(len(part.product), -1, np.int16)
    found[np.searchsorted(part.product, product[best])] = class_id[best]
    return found


def confident_joint(label: np.ndarray, true: np.ndarray) -> ConfidentJoint:
    """Count the pairs of label and confident class.

    label: int16 [Q]. true: int16 [Q], as `confident_classes` returns it.
    """
    seen = true >= 0
    pairs, number = np.unique(
        np.column_stack([label[seen], true[seen]]), axis=0, return_counts=True
    )
    return ConfidentJoint(pairs[:, 0], pairs[:, 1], number)


def calibrated_counts(joint: ConfidentJoint, label: np.ndarray, num_classes: int) -> np.ndarray:
    """How many products of each pair the labelled products hold: float64 [K].

    The counts of a label are scaled so that their sum is its number of products.
    """
    of_label = np.bincount(label, minlength=num_classes)
    counted = np.bincount(joint.label, joint.number, num_classes)
    return joint.number * (of_label / np.maximum(counted, 1))[joint.label]


def find_label_issues(part: PartPredictions, num_classes: int) -> LabelIssues:
    """Products whose label is likely wrong, by pruning by noise rate.

    part: out-of-fold: a model that saw a wrong label may believe it. num_classes: of the catalog.

    Of a pair (label, class), the products are named for which the class is a candidate, at least as
    probable as the label; as many as the calibrated count says, rounded.
    """
    own = part.own_probability()
    joint = confident_joint(part.label, confident_classes(part, num_classes))
    wrong = joint.label != joint.true
    wanted = np.rint(calibrated_counts(joint, part.label, num_classes)).astype(np.int64)
    of_row = np.searchsorted(part.product, part.row_product)
    pair = part.label[of_row].astype(np.int64) * num_classes + part.row_class
    keys = joint.label[wrong].astype(np.int64) * num_classes + joint.true[wrong]
    margin = part.row_probability - own[of_row]
    rows = np.flatnonzero(np.isin(pair, keys) & (margin >= 0))
    order = rows[np.lexsort((of_row[rows], -margin[rows], pair[rows]))]
    place = np.searchsorted(keys, pair[order])
    first = np.searchsorted(pair[order], keys)
    named = order[np.arange(len(order)) - first[place] < wanted[wrong][place]]
    # A product may be named for several classes; the largest margin counts.
    named = named[np.lexsort((-margin[named], of_row[named]))]
    named = named[np.unique(of_row[named], return_index=True)[1]]
    named = named[np.lexsort((of_row[named], -margin[named]))]
    return LabelIssues(
        of_row[named], part.row_class[named], part.row_probability[named], margin[named]
    )
