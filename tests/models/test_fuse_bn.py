import torch
from torch import nn

from lib.models import factory
from lib.models.fuse_bn import fold


def layers(*parts: nn.Module) -> nn.Sequential:
    """With statistics that matter."""
    torch.manual_seed(1)
    made = nn.Sequential(*parts).eval()
    for module in made.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2)
            nn.init.normal_(module.weight)
            nn.init.normal_(module.bias)
    return made


def norms(module: nn.Module) -> int:
    return sum(isinstance(child, nn.BatchNorm2d) for child in module.modules())


def check(given: nn.Module, left: int) -> None:
    sample = torch.randn(2, 3, 9, 8)
    with torch.no_grad():
        wanted = given(sample)
        folded = fold(given, sample[:1])
        torch.testing.assert_close(folded(sample), wanted, rtol=1e-4, atol=1e-4)
    assert norms(folded) == left


def test_a_norm_after_a_convolution_goes():
    given = layers(nn.Conv2d(3, 4, 3, bias=False), nn.BatchNorm2d(4), nn.ReLU(inplace=True))
    check(given, 0)
    assert norms(given) == 1


def test_a_norm_after_anything_else_stays():
    check(layers(nn.BatchNorm2d(3), nn.Conv2d(3, 4, 3), nn.ReLU(), nn.BatchNorm2d(4)), 2)


def test_a_convolution_that_runs_twice_stays():
    shared = nn.Conv2d(3, 3, 3, padding=1)
    check(layers(shared, nn.BatchNorm2d(3), shared, nn.BatchNorm2d(3)), 2)


def test_nothing_of_it_learns():
    folded = fold(layers(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)), torch.randn(1, 3, 9, 8))
    assert not any(p.requires_grad for p in folded.parameters())
    assert not folded.training


class Activating(nn.BatchNorm2d):
    """Norms of timm have an activation of their own."""

    def __init__(self, channels: int) -> None:
        super().__init__(channels)
        self.act = nn.ReLU(inplace=True)

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        return self.act(super().forward(maps))


def test_an_activation_within_a_norm_stays():
    check(layers(nn.Conv2d(3, 4, 3), Activating(4), nn.Conv2d(4, 4, 1), Activating(4)), 0)


class Standardised(nn.Conv2d):
    """Scales its weights on the way: what is folded into them would be scaled away."""

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        weight = self.weight / self.weight.flatten(1).norm(dim=1)[:, None, None, None]
        return nn.functional.conv2d(maps, weight, self.bias)


def test_a_convolution_that_alters_its_weights_is_found_out():
    check(layers(Standardised(3, 4, 3), nn.BatchNorm2d(4)), 1)


def test_a_result_that_changes_in_place_is_not_the_convolution_s():
    check(layers(nn.Conv2d(3, 4, 3), nn.ReLU(inplace=True), nn.BatchNorm2d(4)), 1)


def test_layers_without_norms_are_not_copied():
    given = layers(nn.Conv2d(3, 4, 3), nn.ReLU())
    assert fold(given, torch.randn(1, 3, 9, 8)) is given


def test_a_compiled_network_breaks_at_what_is_folded_and_nowhere_else():
    torch._dynamo.reset()
    net = factory.build("small", 3, "none")
    pictures = net.normalise(torch.zeros((2, 3, 32, 32), dtype=torch.uint8))
    assert torch._dynamo.explain(net.train())(pictures).graph_count == 1
    net.freeze_until(2)
    assert torch._dynamo.explain(net.train())(pictures).graph_count == 3  # until, folded, after
