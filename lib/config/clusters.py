"""Settings of `source = "openimages"`: places of classes, clusters, the label of an image."""

from dataclasses import dataclass
from typing import Annotated, Literal

from lib.config.setting import DistinctStrs, Fraction, NonEmptyStr, Range, setting


@dataclass(frozen=True)
class Clusters:
    """What the classes of Open Images become: clusters, of which an image has one or several.

    A class is named as in the table of descriptions ("Car") or by its label ("/m/0k4j"). A cluster
    is a class with the classes below it that are no clusters of their own.
    """

    max_clusters: Annotated[int, Range(min=2, max=1000)] = setting(
        76, "Clusters, at most; edits come on top."
    )
    min_images: Annotated[int, Range(min=1, max=1_000_000)] = setting(
        20, "Images of a cluster, at least."
    )
    depth_worth: Annotated[float, Range(min=0, max=10)] = setting(
        0.5, "Worth of a level more of an image's cluster; to be in a cluster at all is worth 1."
    )
    label_by: Literal["largest", "frequent"] = setting(
        "largest", "An image is of the cluster of its largest box, or of most of its boxes."
    )
    multi_label: bool = setting(
        False, "An image has the clusters of all its boxes and verified labels; no boosters."
    )
    unannotated_weight: Fraction = setting(
        0.1, "With multi_label: weight in the loss of a cluster with no box and no verified label."
    )
    use_image_labels: bool = setting(
        False, "Images without boxes are used too: their verified labels count as boxes."
    )
    mend: bool = setting(True, "Mend faults of hierarchy and boxes; false is for comparisons.")
    same_object_iou: Annotated[float, Range(min=0.5, max=1)] = setting(
        0.9, "Two boxes above this IoU, one class above the other in the tree, are one object."
    )
    place: Literal["shallow", "deep"] = setting(
        "deep", "Of several places of a class in the tree, the one that counts."
    )
    parents: dict[str, str] = setting(
        {}, 'The parent of a class, instead of that rule; "" puts it on top: { Bicycle = "Toy" }.'
    )
    split: DistinctStrs = setting((), "Classes that are clusters of their own, of any size.")
    drop: DistinctStrs = setting((), "Classes that are left out, with those below them.")
    merge: dict[str, DistinctStrs] = setting(
        {}, 'Classes or clusters that are one cluster: { People = ["Man", "Woman"] }.'
    )
    rename: dict[str, NonEmptyStr] = setting({}, 'Other names of clusters: { Car = "Motor car" }.')
