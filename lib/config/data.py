"""Settings of the catalog: where its files are, how they are read, or what is generated."""

from dataclasses import dataclass, fields, replace
from typing import Annotated, Any, Literal

from lib.config.setting import (
    MAX_CLASSES,
    BelowOne,
    Color,
    DistinctStrs,
    EmptyOrStr,
    Encoding,
    Fraction,
    NonEmptyStr,
    NonNegativeFloat,
    NonNegativeInt,
    NumProducts,
    Pixels,
    Range,
    Separator,
    UpTo1000,
    setting,
)

WITH_COLUMNS = ("csv", "webdataset", "parquet")  # sources whose products have columns of values
LEAST_SIZE_OF_WORDS = 96  # pixels of a generated image whose words can be read
# Defaults of settings that are not those of the other sources.
SOURCE_DEFAULTS: dict[str, dict[str, str]] = {
    "webdataset": {"id_column": "", "label_column": "cls", "images_column": ""},
    "parquet": {"id_column": "", "label_column": "label", "images_column": "image"},
}


@dataclass(frozen=True)
class Data:
    """Where the catalog is, and what kind of files it is made of.

    bson     BSON files like those of Cdiscount
    csv      tables with one row for each product; a column names its images
    folders  folders of images; in `train` one folder for each class, nested ones are levels
    npy      folders of CLASS.npy, uint8 [n, h, w] or [n, h * h]; each row is a product
    strokes  folders of CLASS.ndjson, simplified Quick, Draw! drawings; each is a product
    sample   a synthetic catalog, which stage 01 generates from [sample]
    openimages  tables of boxes in the schema of Open Images; an image is a product, see [clusters]
    webdataset  tars of samples; the members that share a key are a product, read in place
    parquet  Parquet or Arrow tables; a column has the images, or names them
    """

    source: Literal[
        "bson", "csv", "folders", "npy", "strokes", "sample", "openimages", "webdataset", "parquet"
    ] = setting("bson", "Kind of files that train and test are.")
    root: NonEmptyStr = setting(".", "Folder of the files below.")
    train: str = setting(
        "train.bson",
        "File or folder of the labelled products, of webdataset and parquet also a pattern such as"
        " train-{0000..0012}.tar; empty = composed scenes alone.",
    )
    test: str = setting("test.bson", "The same of the products to classify; empty = none.")
    corrections: str = setting(
        "", "CSV of product and class: right labels for products of train; empty = none."
    )
    categories: NonEmptyStr = setting(
        "category_names.csv", "Table of the categories; of bson alone."
    )
    hierarchy: NonEmptyStr = setting(
        "bbox_labels_600_hierarchy.json", "Tree of the classes, JSON; of openimages alone."
    )
    class_descriptions: NonEmptyStr = setting(
        "class-descriptions-boxable.csv", "Table of the names of classes; of openimages alone."
    )
    id_column: EmptyOrStr = setting(
        "product",
        "Column of unique product ids, numbers or text. Of webdataset a member or a key of the"
        " .json; empty, the default of webdataset and parquet = the key, or file and row.",
    )
    label_column: NonEmptyStr = setting(
        "category",
        "Column of labels, such as Men/Tops/Tees; default of parquet: label. Of webdataset a member"
        " or a key of the .json, by default cls.",
    )
    images_column: EmptyOrStr = setting(
        "images",
        "Column of image names, of parquet also of images; its default: image. Of webdataset the"
        " suffix of the images, by default empty = all kinds of pictures.",
    )
    image_separator: Separator = setting("auto", "Between image names; auto: shown by the files.")
    separator: Separator = setting("auto", "Between fields of a CSV; auto: shown by the header.")
    encoding: Encoding = setting("auto", "Of a CSV and of categories; auto: UTF-8 or UTF-16.")
    images_root: str = setting("", "Folder of the images; empty = ./images, or the CSV's folder.")
    text_columns: DistinctStrs = setting(
        (),
        'Columns of titles and other texts, for models with input = "text"; not of folders, npy'
        " and strokes, which have tables beside them.",
    )
    categorical_columns: DistinctStrs = setting(
        (), "Columns of brands and the like, beside the pictures; found as text_columns are."
    )
    numeric_columns: DistinctStrs = setting((), "Columns of prices and other numbers; the same.")
    decimal: Literal["auto", "point", "comma"] = setting(
        "auto", "Decimal separator of these numbers; auto: by each column as a whole."
    )
    train_texts: str = setting(
        "",
        "CSV, or CSV.gz, of these columns of train, with ids in id_column or _id; empty = train"
        " itself.",
    )
    test_texts: str = setting("", "The same of test.")
    group_by: str = setting(
        "alike",
        "Stay in one part: near twins (alike), or equal values of a column; empty = none.",
    )
    split_column: str = setting(
        "",
        "Column of your own split: train, valid and test, or numbers of folds; empty = none.",
    )
    classes: DistinctStrs = setting((), "Use these classes of npy or strokes; empty = all.")
    max_per_class: NonNegativeInt = setting(0, "First rows used of each of them; 0 = all.")
    bitmap_size: Annotated[int, Range(min=8, max=1024)] = setting(
        28, "Side of drawn strokes, in pixels."
    )
    draw: Annotated[int, Range(min=0, max=1_000_000)] = setting(
        0, "Labelled products of a rehearsal, in runs of ids and whole sets; 0 = all products."
    )
    max_bad_fraction: Fraction = setting(0.01, "Fraction of corrupt records that is tolerated.")
    max_missing_fraction: Fraction = setting(0.1, "Same, of images missing or undecodable.")
    background: Color = setting("#ffffff", "Color that shows where an image is transparent.")
    sha256: dict[str, str] = setting({}, "Published SHA-256 checksums by file name.")

    @property
    def attribute_columns(self) -> tuple[str, ...]:
        """The categorical and numeric columns."""
        return (*self.categorical_columns, *self.numeric_columns)

    @property
    def group_column(self) -> str:
        """The column whose equal values stay in one part; empty if there is none."""
        return "" if self.group_by == "alike" else self.group_by

    def of_kind(self, kind: str) -> "Data":
        """The settings by which new products of another kind of file are read.

        A column that has the default of `source` gets that of `kind`; others are as they are set.
        """
        columns: dict[str, Any] = {"id_column": "product", "images_column": "images"}
        old, new = (columns | SOURCE_DEFAULTS.get(name, {}) for name in (self.source, kind))
        changed = {c: new[c] for c in columns if getattr(self, c) == old[c]}
        return replace(self, **changed) if kind != self.source else self


@dataclass(frozen=True)
class Sample:
    """The synthetic catalog of `source = "sample"`. The defaults are as in Cdiscount's data."""

    train_products: NumProducts = setting(4000, "Labelled products.")
    test_products: NumProducts = setting(1000, "Products to classify.")
    num_classes: Annotated[int, Range(min=2, max=MAX_CLASSES)] = setting(
        60, "Leaves of the three-level tree."
    )
    image_size: Pixels = setting(64, "Side of an image, in pixels.")
    image_count_weights: tuple[NonNegativeFloat, ...] = setting(
        (67.0, 7.0, 3.0, 5.0), "Relative frequencies of products with 1, 2, 3, ... images."
    )
    duplicate_fraction: BelowOne = setting(0.37, "Fraction of train images that are copies.")
    conflict_fraction: BelowOne = setting(
        0.015, "Fraction of distinct images with more than one label."
    )
    test_shared_fraction: BelowOne = setting(
        0.42, "Fraction of test products that share an image with a labelled product."
    )
    test_unambiguous_fraction: BelowOne = setting(
        0.36, "Fraction of test products whose shared images have one label."
    )
    num_placeholders: UpTo1000 = setting(3, "Images that very many classes share.")
    label_noise: BelowOne = setting(0.03, "Fraction of products with a wrong label.")
    zipf_exponent: Annotated[float, Range(min=0, max=10)] = setting(
        1.0, "Zipf exponent of the class sizes."
    )
    run_length: Annotated[int, Range(min=2)] = setting(
        40, "Mean length of a run of ids from one seller, with few classes."
    )
    difficulty: Fraction = setting(0.5, "From 0, clean drawings, to 1, hardly legible ones.")
    title_missing: Fraction = setting(1.0, "Fraction of products without a title; 1 = no titles.")
    title_informative: Fraction = setting(
        0.7, "Fraction of titles with a word of the class; the others have general words alone."
    )
    title_wrong: Fraction = setting(0.02, "Fraction of titles that are another product's.")
    title_misspelt: Fraction = setting(0.05, "Fraction of titles with a misspelt word.")
    brand_missing: Fraction = setting(1.0, "Fraction of products without a brand; 1 = no brands.")
    brand_informative: Fraction = setting(
        0.8, "Fraction of brands that sell the product's family; the others are of any family."
    )
    price_missing: Fraction = setting(1.0, "Fraction of products without a price; 1 = no prices.")
    price_informative: Fraction = setting(
        0.5, "Fraction of the variance of log prices that lies between classes."
    )
    picture_words: Fraction = setting(
        0.0, "Fraction of pictures with a word of the family on them; images of 96 pixels or more."
    )

    @property
    def text_columns(self) -> tuple[str, ...]:
        """The keys that the documents have beside ids, images and categories."""
        return tuple(
            name for name in ("title", "brand", "price") if getattr(self, f"{name}_missing") < 1
        )

    @property
    def unused(self) -> tuple[str, ...]:
        """The settings without an effect, which the manifests of older runs do not have."""
        given = {"title", "brand", "price"} - set(self.text_columns)
        unused = [f.name for f in fields(self) if f.name.split("_")[0] in given]
        return (*unused, *([] if self.picture_words else ["picture_words"]))
