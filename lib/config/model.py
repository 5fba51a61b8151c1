"""Settings of one network: architecture, kind of learning-rate schedule, loss, augmentation.

The same keys stand in `[models.NAME]` and, as defaults of all models, in `[train]`.
"""

from dataclasses import dataclass, field
from typing import Annotated, Literal

from lib.config.inputs.fusion import Fusion
from lib.config.inputs.mosaic import Mosaic
from lib.config.inputs.segmentation import Segmentation
from lib.config.inputs.text import Text
from lib.config.setting import (
    MAX_CLASSES,
    Fraction,
    ImageSize,
    NonEmptyStr,
    NonNegativeFloat,
    NonNegativeInt,
    NumFolds,
    PositiveInt,
    Range,
    SmallFraction,
    setting,
)

Units = Annotated[int, Range(min=0, max=1000)]
Epochs = Annotated[int, Range(min=0, max=100_000)]
TrainBatchSize = Annotated[int, Range(min=2, max=1_000_000)]
LearningRate = Annotated[float, Range(above=0, max=10)]


@dataclass(frozen=True)
class LRSchedule:
    """Learning rate of the body by step; `lr` is its peak.

    cosine     a linear warm-up, then `num_cycles` cosines that start at the peak
    one_cycle  the same, with inverse momentum
    cyclical   `num_cycles` triangles, up and down
    plateau    times `plateau_factor` after `plateau_patience` epochs without a lower loss
    multistep  the rates of `milestones`, by epoch
    constant   always `lr`, after the warm-up
    """

    kind: Literal["cosine", "one_cycle", "cyclical", "plateau", "multistep", "constant"] = setting(
        "cosine", "Shape of the schedule."
    )
    warmup_fraction: Fraction = setting(0.25, "Fraction of the steps with a linear warm-up.")
    num_cycles: Annotated[int, Range(min=1, max=1000)] = setting(
        1, "Number of cosines or triangles."
    )
    min_lr_ratio: Fraction = setting(0.0, "Lowest rate of cosines and triangles, relative to lr.")
    plateau_factor: Annotated[float, Range(above=0, below=1)] = setting(
        0.1, "Factor that lowers the rate on a plateau."
    )
    plateau_patience: PositiveInt = setting(1, "Epochs without a lower loss that are a plateau.")
    milestones: tuple[tuple[NonNegativeFloat, LearningRate], ...] = setting(
        (), "Rows [epoch, rate]: [[0, 3e-4], [7, 1e-4]] is 1e-4 from the body's eighth epoch on."
    )


@dataclass(frozen=True)
class Augment:
    """Random changes of training images, beside the random position of the crop and `flip`.

    The strength of an epoch goes from 0 (no change) to 1. It scales every range and every
    probability below, for the images that are changed.
    """

    image_fraction: Fraction = setting(
        1.0, "Fraction of the images that are changed at all; the strength does not scale it."
    )
    min_area: Annotated[float, Range(min=0.01, max=1)] = setting(
        1.0, "Smallest area of the crop that is cut out and enlarged to the whole crop."
    )
    max_stretch: Fraction = setting(0.0, "Largest relative change of the aspect ratio.")
    max_rotation: Annotated[float, Range(min=0, max=180)] = setting(
        0.0, "Largest rotation in degrees, either way."
    )
    rot90: bool = setting(False, "Rotate by 0, 90, 180 or 270 degrees.")
    brightness: Fraction = setting(0.0, "Largest relative change of the brightness.")
    contrast: Fraction = setting(0.0, "Largest relative change of the contrast.")
    saturation: Fraction = setting(0.0, "Largest relative change of the saturation.")
    grayscale_prob: Fraction = setting(0.0, "Probability that an image loses its color.")
    erase_prob: Fraction = setting(0.0, "Probability that a rectangle is erased.")
    no_aug_epochs: NonNegativeInt = setting(0, "Last epochs, without any change.")
    ramp_epochs: NonNegativeInt = setting(0, "First epochs of the body; strength rises to 1.")
    ramp_start: Fraction = setting(0.0, "Strength at which that rise starts.")


@dataclass(frozen=True)
class Aspect:
    """Batches of images of nearly one aspect ratio, which is kept, for `input = "image"`.

    Images are sorted into clusters of aspect ratio, such as 1:2, 1:1 and 2:1, that stage 01 finds
    in the labelled images. All images of a batch are of one cluster and have its ratio and, with
    scale = 0, as many pixels as `crop`. The network has to pool maps of any size.
    """

    num_clusters: Annotated[int, Range(min=0, max=16)] = setting(
        0, "Most clusters; 0 = resize all images to one size, whatever their aspect ratio."
    )
    scale: Fraction = setting(
        0.0, "Sides relative to the median original of a cluster; 0 = as many pixels as crop."
    )
    fill: Literal["pad", "crop"] = setting(
        "pad", "An image of another ratio than its cluster gets gray bars, or loses its ends."
    )


@dataclass(frozen=True)
class Loss:
    """Cross-entropy and its variants."""

    label_smoothing: SmallFraction = setting(0.0, "Probability spread over all classes.")
    focal_gamma: Annotated[float, Range(min=0, max=10)] = setting(
        0.0, "Exponent of (1 - p) in the focal loss; 0 = off."
    )
    mixup_alpha: Annotated[float, Range(min=0, max=100)] = setting(
        0.0, "Both parameters of mixup's Beta; 0 = off."
    )
    hierarchy_weight: Annotated[float, Range(min=0, max=100)] = setting(
        0.0, "Weight of the same loss on the two upper levels of the category tree."
    )


@dataclass(frozen=True)
class Sampling:
    """Which images an epoch shows."""

    class_balance: Fraction = setting(
        0.0,
        "Weight n ** -class_balance of a class of n images; 1 weighs all classes alike.",
    )
    one_image_per_product: bool = setting(False, "Draw one image of each product anew each epoch.")
    hard_example_weight: Annotated[float, Range(min=0, max=1000)] = setting(
        0.0, "Weight 1 + this * (1 - p of the true class in the last epoch that showed the image)."
    )
    oversample: Fraction = setting(
        0.0,
        "Repeat images of small classes up to this fraction of the largest class; no image is left"
        " out, and epochs grow.",
    )


@dataclass(frozen=True)
class WeightAveraging:
    """A running mean of the weights; where it is on, it is what predicts.

    ema  exponential mean over about the last 1 / (1 - ema_decay) steps
    swa  mean over the ends of epochs from `swa_start` on; batch norm statistics are measured anew
    """

    kind: Literal["none", "ema", "swa"] = setting("none", "Kind of mean.")
    ema_decay: Annotated[float, Range(min=0, max=0.999999)] = setting(0.999, "Decay of a step.")
    swa_start: SmallFraction = setting(0.75, "Fraction of the body's epochs before SWA starts.")


@dataclass(frozen=True)
class Backbone:
    """A pretrained network that is never trained; `input = "embedding"` reads its embeddings."""

    arch: NonEmptyStr = setting("resnet50", "Name of the architecture, as in train.arch.")
    weights: NonEmptyStr = setting("imagenet", "Weights, as in train.weights.")
    resize: ImageSize = setting((180, 180), "Height and width of the resized image, in pixels.")
    crop: ImageSize = setting((160, 160), "Height and width of the network's input, in pixels.")
    precision: Literal["auto", "bf16", "float32"] = setting("auto", "As in train.precision.")


@dataclass(frozen=True)
class Model:
    """One network and how it is trained. `[train]` holds the defaults of all `[models.NAME]`."""

    kind: Literal["classification", "segmentation"] = setting(
        "classification", "Classes of products, or coarse masks of the objects in an image."
    )
    input: Literal["image", "mosaic", "product", "embedding", "text"] = setting(
        "image",
        "One image; all images of a product, combined into one or through one trunk; embeddings of"
        " other models; or texts.",
    )
    image_pooling: Literal["mean", "max"] = setting(
        "mean", 'How the images of a product are pooled, for input = "product".'
    )
    arch: NonEmptyStr = setting(
        "resnet18", "Architecture: a name of timm, of pretrainedmodels, or small."
    )
    weights: NonEmptyStr = setting("imagenet", "imagenet, none, or the path of a state dict.")
    warm_start: str = setting("", "Run, as work/mine, whose networks these start from.")
    head: Literal["linear", "wide", "strips", "shape_strips"] = setting(
        "linear",
        "wide adds two layers as wide as there are classes; strips are convolutions in place of"
        " pooling, shape_strips have own weights for tall, square and wide images.",
    )
    head_rank: Annotated[int, Range(min=0, max=MAX_CLASSES)] = setting(
        0, "Rank of a wide head's matrices; 0 = full."
    )
    dropout: SmallFraction = setting(0.0, "Dropout before the last layers of the head.")
    n_folds: NumFolds = setting(
        4, "Networks, each trained without one fold of `fit`; 1 = one network on all of `fit`."
    )
    resize: ImageSize = setting((180, 180), "Height and width of the resized image, in pixels.")
    crop: ImageSize = setting((160, 160), "Height and width of the network's input, in pixels.")
    flip: bool = setting(True, "Mirror half of the training images from left to right.")
    freeze_until: Units = setting(
        0, "Number of first units (blocks, or stem and layers) that are never trained."
    )
    unfreeze_schedule: tuple[Units, ...] = setting(
        (), "freeze_until by epoch of the body; the last value holds for all later epochs."
    )
    head_only_epochs: Epochs = setting(1, "First epochs, which train the head alone.")
    epochs: Epochs = setting(5, "Epochs after these; they train the body too.")
    batch_size: TrainBatchSize = setting(64, "Images in a batch.")
    batch_size_schedule: tuple[tuple[NonNegativeInt, TrainBatchSize], ...] = setting(
        (), "Rows [epoch, size]: [[2, 128]] is 128 images from the body's third epoch on."
    )
    grad_accum_steps: PositiveInt = setting(
        1, "Equal parts of a batch that pass one by one, which saves memory."
    )
    optimizer: Literal["sgd", "adamw"] = setting("sgd", "SGD with Nesterov momentum, or AdamW.")
    lr: LearningRate = setting(0.05, "Peak learning rate of lr_schedule.")
    head_lr: Annotated[float, Range(above=0, max=1)] = setting(
        0.001, "Adam's learning rate in head_only_epochs."
    )
    head_lr_milestones: tuple[tuple[NonNegativeInt, LearningRate], ...] = setting(
        (), "Rows [epoch, rate] in place of head_lr: [[0, 1e-3], [2, 1e-4]] falls after two epochs."
    )
    weight_decay: Annotated[float, Range(min=0, max=10)] = setting(
        0.0005, "Weight decay, not of biases and norms."
    )
    clip_grad_norm: NonNegativeFloat = setting(5.0, "Largest norm of the gradient; 0 = no limit.")
    precision: Literal["auto", "bf16", "float32"] = setting(
        "auto", "auto is bf16 on a GPU and float32 on a CPU."
    )
    compile: bool = setting(False, "Use torch.compile: a slow start, then faster steps.")
    checkpoint: Literal["last", "best"] = setting(
        "last", "Epoch that predicts: the last, or the best on a watched share of its training set."
    )
    seed: NonNegativeInt = setting(0, "Added to the experiment's seed.")
    blend_weight: NonNegativeFloat = setting(
        1.0, "Weight in means over models and in the published blend."
    )
    lr_schedule: LRSchedule = field(default_factory=LRSchedule)
    aspect: Aspect = field(default_factory=Aspect)
    augment: Augment = field(default_factory=Augment)
    loss: Loss = field(default_factory=Loss)
    sampling: Sampling = field(default_factory=Sampling)
    weight_average: WeightAveraging = field(default_factory=WeightAveraging)
    fusion: Fusion = field(default_factory=Fusion)
    mosaic: Mosaic = field(default_factory=Mosaic)
    segmentation: Segmentation = field(default_factory=Segmentation)
    text: Text = field(default_factory=Text)

    @property
    def lowest_trainable_unit(self) -> int:
        """The first unit of the body that trains in any epoch; those before it never change."""
        return min(self.unfreeze_schedule, default=self.freeze_until)

    @property
    def is_watched(self) -> bool:
        """Whether figures of an epoch decide something about the network.

        They are then those of a share of its training folds, which does not train: the fold that
        it predicts out-of-fold has no say in it. A model of texts decides nothing by them.
        """
        decides = self.checkpoint == "best" or self.lr_schedule.kind == "plateau"
        return decides and self.input != "text"
