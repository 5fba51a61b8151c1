"""Batches of images with the coarse masks to draw on them, moved as the images are"""

import numpy as np

from lib.config.model import Model
from lib.data.image_reader import ImageReader
from lib.data.openimages.masks.targets import ChannelBoxes, target_masks
from lib.runtime.distributed import SINGLE, ProcessGroup
from lib.training.loaders.augment import AugmentParams
from lib.training.loaders.image_loader import Batches, ImageLoader
from lib.training.masks import MaskedImages


class MaskLoader(ImageLoader):
    """Batches of (rows int64 [b], `MaskedImages`); a row is an image of the reader's catalog.

    boxes: of the images of the catalog, for the channels of the network.
    Training shows random crops. Evaluation shows whole images of size `resize`: a network that
    draws masks takes images of any size, and boxes are fractions of the whole image.
    """

    def __init__(
        self,
        reader: ImageReader,
        model_cfg: Model,
        boxes: ChannelBoxes,
        group: ProcessGroup = SINGLE,
    ) -> None:
        super().__init__(reader, model_cfg, group)
        self.boxes = boxes

    def with_group(self, group: ProcessGroup) -> "MaskLoader":
        """The same loader, whose `train_batches` gives the shards of this rank."""
        return MaskLoader(self.reader, self.model_cfg, self.boxes, group)

    def train_batches(
        self,
        rows: np.ndarray,
        batch_size: int,
        seeds: np.random.SeedSequence,
        epoch: int,
        num_epochs: int,
    ) -> Batches:
        """Random crops, flipped and augmented as the settings say, and their masks."""
        augment = self._augment(self.shapes[0], epoch, num_epochs)
        first_child = seeds.n_children_spawned
        batches = super().train_batches(rows, batch_size, seeds, epoch, num_epochs)
        for number, (batch_rows, images) in enumerate(batches):
            # The reader draws with one child of `seeds` for each batch, in their order; the same
            # child draws the same changes again.
            key = (*seeds.spawn_key, first_child + number)
            child = np.random.SeedSequence(seeds.entropy, spawn_key=key)
            count = min(batch_size, len(rows) - number * batch_size)
            params = augment.draw(count, np.random.default_rng(child))
            matrices = crop_matrices(params, self.model_cfg.crop)[self.group.shard(count)]
            entry, position = self.boxes.entries_of(batch_rows)
            box = move_boxes(
                self.boxes.box[entry],
                matrices[position],
                self.model_cfg.resize,
                self.model_cfg.crop,
            )
            yield batch_rows, self._masked(batch_rows, images, box)

    def eval_batches(self, rows: np.ndarray, batch_size: int) -> Batches:
        """Whole images, resized, and their masks."""
        for batch_rows, images in self.reader.batches(rows, batch_size):
            entry, _ = self.boxes.entries_of(batch_rows)
            yield batch_rows, self._masked(batch_rows, images, self.boxes.box[entry])

    def _masked(self, rows: np.ndarray, images: np.ndarray, box: np.ndarray) -> MaskedImages:
        settings = self.model_cfg.segmentation
        height, width = images.shape[-2:]
        shape = height // settings.stride, width // settings.stride
        masks = target_masks(
            self.boxes,
            rows,
            box,
            shape,
            settings.unannotated_weight,
            settings.target == "hard",
            settings.core,
        )
        return MaskedImages(images, *masks)


def crop_matrices(params: AugmentParams, crop: tuple[int, int]) -> np.ndarray:
    """Matrices float64 [b, 2, 3] from (x, y, 1) of each crop (height, width) to its image.

    Coordinates count pixels; the middle of the first one is 0.
    """
    if params.transforms is not None:
        return params.transforms.matrices
    flipped = np.array(params.flipped)
    matrices = np.zeros((len(flipped), 2, 3))
    matrices[:, 0, 0], matrices[:, 1, 1] = np.where(flipped, -1, 1), 1
    matrices[:, 0, 2] = np.array(params.lefts) + np.where(flipped, crop[1] - 1, 0)
    matrices[:, 1, 2] = params.tops
    return matrices


def move_boxes(
    box: np.ndarray, matrices: np.ndarray, image: tuple[int, int], crop: tuple[int, int]
) -> np.ndarray:
    """Boxes of an image as fractions of its crop, float64 [k, 4]; parts of them may be outside.

    box: float [k, 4], x_min, x_max, y_min, y_max as fractions of the image. matrices: float
    [k, 2, 3], from the crop to the image, without a rotation. image, crop:
    (height, width).
    """
    corners = box.astype(np.float64).reshape(-1, 2, 2).transpose(0, 2, 1)  # [k, corner, (x, y)]
    in_image = corners * np.array(image[::-1]) - 0.5 - matrices[:, None, :, 2]
    in_crop = np.linalg.solve(matrices[:, None, :, :2], in_image[..., None])[..., 0]
    fractions = (in_crop + 0.5) / np.array(crop[::-1])
    return np.stack([fractions.min(1), fractions.max(1)], 2).reshape(-1, 4)
