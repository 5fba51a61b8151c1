"""The views of a picture that are scored (C6): crops of the whole and their mirror images."""

import torch

Place = tuple[int, int, bool]  # top, left, mirrored


def centre(whole: tuple[int, int], crop: tuple[int, int]) -> Place:
    return (whole[0] - crop[0]) // 2, (whole[1] - crop[1]) // 2, False


def places(whole: tuple[int, int], crop: tuple[int, int], views: int, flip: bool) -> list[Place]:
    """Where the views lie, the centre first, none twice.

    whole, crop: (height, width). views: 1 centre; 2 with its mirror image; 5 centre and corners;
    10 those and their mirror images. Without `flip`, a network that never saw a mirrored picture
    is not shown one.
    """
    middle = centre(whole, crop)
    bottom, right = whole[0] - crop[0], whole[1] - crop[1]
    corners = [(top, left, False) for top in (0, bottom) for left in (0, right)]
    found = [middle, *(corners if views in (5, 10) else [])]
    if flip and views in (2, 10):
        found += [(top, left, True) for top, left, _ in found]
    return list(dict.fromkeys(found))


def cut(pictures: torch.Tensor, place: Place, crop: tuple[int, int]) -> torch.Tensor:
    """[n, 3, h, w] of any type -> the view at `place`, [n, 3, *crop]."""
    top, left, mirrored = place
    view = pictures[:, :, top : top + crop[0], left : left + crop[1]]
    return view.flip(3) if mirrored else view
