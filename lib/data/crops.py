"""Crops of images: the center crop, and the crops that test-time augmentation averages over."""

from typing import TypeVar

import torch

from lib.data.products.reader import ProductImages

Images = TypeVar("Images", torch.Tensor, ProductImages)
CropBox = tuple[int, int, bool]  # top, left, mirrored


def center_crop(image_size: tuple[int, int], crop_size: tuple[int, int]) -> CropBox:
    """The crop in the middle. Sizes are (height, width)."""
    return (image_size[0] - crop_size[0]) // 2, (image_size[1] - crop_size[1]) // 2, False


def tta_crops(
    image_size: tuple[int, int], crop_size: tuple[int, int], num_views: int, flip: bool
) -> list[CropBox]:
    """The crops of test-time augmentation, the center crop first, without duplicates.

    image_size, crop_size: (height, width).
    num_views: 1 center; 2 center and its mirror image; 5 center and corners; 10 these and their
        mirror images.
    flip: whether to mirror at all; not for a network that was never trained on mirrored images.
    """
    center = center_crop(image_size, crop_size)
    bottom, right = image_size[0] - crop_size[0], image_size[1] - crop_size[1]
    corners = [(top, left, False) for top in (0, bottom) for left in (0, right)]
    boxes = [center, *(corners if num_views in (5, 10) else [])]
    if flip and num_views in (2, 10):
        boxes += [(top, left, True) for top, left, _ in boxes]
    return list(dict.fromkeys(boxes))


def crop(images: Images, box: CropBox, crop_size: tuple[int, int]) -> Images:
    """The crop `box` of each image: [n, 3, h, w] of any dtype -> [n, 3, *crop_size].

    images: a tensor, or `ProductImages`, of which the images are cropped.
    """
    if isinstance(images, ProductImages):
        return images._replace(images=crop(images.images, box, crop_size))
    top, left, mirrored = box
    view = images[:, :, top : top + crop_size[0], left : left + crop_size[1]]
    return view.flip(3) if mirrored else view
