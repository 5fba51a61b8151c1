"""Settings of composed scenes: images with boxes over a class hierarchy, and the faults in them."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

from lib.config.setting import Distinct, Fraction, NonNegativeFloat, Pixels, Range, setting

# What a folder of pictures may hold; the hierarchy and its descriptions are needed.
HIERARCHY_FILE = "bbox_labels_600_hierarchy.json"
DESCRIPTIONS_FILE = "class-descriptions-boxable.csv"
PICTURES = {
    "hierarchy": f"openimages/{HIERARCHY_FILE}",
    "class_descriptions": f"openimages/{DESCRIPTIONS_FILE}",
    "photographs": "openimages/photos",
    "raccoons": "openimages/raccoon",
    "shop": "fashion/train.bson",
    "shop_categories": "fashion/category_names.csv",
    "drawings": "quickdraw/strokes",
}

Source = Literal["photographs", "raccoons", "shop", "drawings"]

NumScenes = Annotated[int, Range(min=0, max=10_000_000)]


@dataclass(frozen=True)
class Faults:
    """Annotation faults that stage 01 plants in composed scenes, each with its truth."""

    placed_twice: Fraction = setting(0.03, "Fraction of classes with a second, wrong place.")
    missing_parent: Fraction = setting(
        0.05, "Fraction of classes with children that are missing from the hierarchy."
    )
    missing_description: Fraction = setting(0.02, "Fraction of classes without a description.")
    two_levels: Fraction = setting(
        0.08, "Fraction of objects with a second box, labelled as an ancestor of the class."
    )
    missing_box: Fraction = setting(0.03, "Fraction of objects without a box.")
    wrong_label: Fraction = setting(0.03, "Fraction of boxes with the label of another class.")
    missing_ancestor: Fraction = setting(
        0.05, "Fraction of images whose image-level labels lack all ancestors of a class."
    )


@dataclass(frozen=True)
class Scenes:
    """Composed scenes in the official layout of Open Images, added to the labelled images.

    Their objects are cut-outs, drawings and photographs of `pictures`, or generated pictures.
    """

    num_images: NumScenes = setting(0, "Labelled scenes to compose; 0 = none.")
    num_test_images: NumScenes = setting(0, "Scenes to classify, whose boxes no stage reads.")
    pictures: str = setting("", "Folder of the pictures to compose; empty = generated pictures.")
    sources: Annotated[tuple[Source, ...], Distinct()] = setting(
        ("photographs", "raccoons", "shop", "drawings"),
        "What to take from that folder; not what is itself among the labelled images.",
    )
    num_classes: Annotated[int, Range(min=2, max=600)] = setting(
        200, "Classes that are the subject of a scene, at most."
    )
    power_law: Annotated[float, Range(min=0, max=5)] = setting(
        1.0, "Exponent: the class of rank r is the subject of r ** -power_law as many scenes."
    )
    size: Pixels = setting(192, "Longest side of a scene, in pixels.")
    aspect_weights: tuple[NonNegativeFloat, NonNegativeFloat, NonNegativeFloat] = setting(
        (40.0, 35.0, 25.0), "Relative frequencies of wide (2:1), square and tall (1:2) scenes."
    )
    max_others: Annotated[int, Range(min=0, max=20)] = setting(
        3, "Objects beside the subject, at most."
    )
    occlusion: Fraction = setting(0.2, "Fraction of subjects partly behind another object.")
    truncation: Fraction = setting(0.15, "Fraction of subjects that reach out of the image.")
    groups: Fraction = setting(0.08, "Fraction of subjects that are a group with one box.")
    depictions: Fraction = setting(0.06, "Fraction of subjects that are a picture on a sheet.")
    parts: Fraction = setting(0.6, "Fraction of wholes that show parts with boxes of their own.")
    inside: Fraction = setting(0.1, "Fraction of wholes that are shown from inside.")
    difficulty: Fraction = setting(
        0.3, "From 0, objects of a class look alike, to 1, they differ in color and texture."
    )
    faults: Faults = field(default_factory=Faults)

    @property
    def picture_files(self) -> dict[str, Path]:
        """The files and folders of the pictures that are there, and the hierarchy in any case."""
        if not self.pictures:
            return {}
        wanted = {"hierarchy", "class_descriptions", *self.sources}
        if "shop" in wanted:
            wanted.add("shop_categories")
        paths = {n: Path(self.pictures) / path for n, path in PICTURES.items() if n in wanted}
        return {name: path for name, path in paths.items() if name == "hierarchy" or path.exists()}
