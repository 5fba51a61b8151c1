import torch
from torch import nn

from lib.models.factory import create_model
from lib.models.fuse_bn import fuse_conv_bn


def layers(*parts: nn.Module) -> nn.Sequential:
    """Parts in sequence, with BatchNorm statistics that have an effect."""
    torch.manual_seed(1)
    sequence = nn.Sequential(*parts).eval()
    for module in sequence.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2)
            nn.init.normal_(module.weight)
            nn.init.normal_(module.bias)
    return sequence


def num_norms(module: nn.Module) -> int:
    return sum(isinstance(child, nn.BatchNorm2d) for child in module.modules())


def check(original: nn.Module, remaining_norms: int) -> None:
    sample = torch.randn(2, 3, 9, 8)
    with torch.no_grad():
        expected = original(sample)
        fused = fuse_conv_bn(original, sample[:1])
        torch.testing.assert_close(fused(sample), expected, rtol=1e-4, atol=1e-4)
    assert num_norms(fused) == remaining_norms


def test_a_norm_after_a_convolution_is_fused():
    original = layers(nn.Conv2d(3, 4, 3, bias=False), nn.BatchNorm2d(4), nn.ReLU(inplace=True))
    check(original, 0)
    assert num_norms(original) == 1


def test_a_norm_after_anything_else_stays():
    check(layers(nn.BatchNorm2d(3), nn.Conv2d(3, 4, 3), nn.ReLU(), nn.BatchNorm2d(4)), 2)


def test_a_convolution_that_runs_twice_is_not_fused():
    shared = nn.Conv2d(3, 3, 3, padding=1)
    check(layers(shared, nn.BatchNorm2d(3), shared, nn.BatchNorm2d(3)), 2)


def test_the_fused_copy_is_frozen():
    fused = fuse_conv_bn(layers(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)), torch.randn(1, 3, 9, 8))
    assert not any(p.requires_grad for p in fused.parameters())
    assert not fused.training


class Activating(nn.BatchNorm2d):
    """Like the norms of timm, includes an activation."""

    def __init__(self, channels: int) -> None:
        super().__init__(channels)
        self.act = nn.ReLU(inplace=True)

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        return self.act(super().forward(maps))


def test_an_activation_within_a_norm_is_kept():
    check(layers(nn.Conv2d(3, 4, 3), Activating(4), nn.Conv2d(4, 4, 1), Activating(4)), 0)


class Standardised(nn.Conv2d):
    """Scales its weights in the forward pass, which would undo fusing."""

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        weight = self.weight / self.weight.flatten(1).norm(dim=1)[:, None, None, None]
        return nn.functional.conv2d(maps, weight, self.bias)


def test_a_convolution_that_changes_its_weights_is_not_fused():
    check(layers(Standardised(3, 4, 3), nn.BatchNorm2d(4)), 1)


def test_an_output_changed_in_place_is_not_fused():
    check(layers(nn.Conv2d(3, 4, 3), nn.ReLU(inplace=True), nn.BatchNorm2d(4)), 1)


def test_layers_without_norms_are_not_copied():
    original = layers(nn.Conv2d(3, 4, 3), nn.ReLU())
    assert fuse_conv_bn(original, torch.randn(1, 3, 9, 8)) is original


def test_a_compiled_model_has_a_graph_break_only_at_the_fused_layers():
    torch._dynamo.reset()
    net = create_model("small", 3, "none")
    images = net.normalise(torch.zeros((2, 3, 32, 32), dtype=torch.uint8))
    assert torch._dynamo.explain(net.train())(images).graph_count == 1
    net.freeze_until(2)
    assert torch._dynamo.explain(net.train())(images).graph_count == 3  # before, fused, after
