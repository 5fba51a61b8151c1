import pytest
import torch
from torch.nn import functional

from lib.errors import UserError
from lib.models import heads
from lib.models.factory import create_model


def test_the_linear_head_is_a_linear_layer():
    torch.manual_seed(1)
    head = heads.create_head("linear", 6, 6, 3)
    torch.manual_seed(1)
    assert torch.equal(head.weight, torch.nn.Linear(6, 3).weight)
    assert set(head.state_dict()) == {"weight", "bias"}
    features = torch.randn(4, 6)
    assert torch.equal(head(features), functional.linear(features, head.weight, head.bias))


def test_dropout_is_active_only_in_training():
    features = torch.ones(64, 50)
    for kind in heads.KINDS:
        head = heads.create_head(kind, 50, 50, 30, dropout=0.5)
        assert not torch.equal(head(features), head(features))
        head.eval()
        assert torch.equal(head(features), head(features))


def test_a_wide_head_computes_its_definition():
    torch.manual_seed(1)
    head = heads.create_head("wide", 6, 6, 4).eval()
    head.norm.running_mean.normal_()
    maps = torch.randn(2, 6, 3, 5)
    up = torch.einsum("ncij,kc->nkij", maps, head.up.weight[:, :, 0, 0])
    up = (up - head.norm.running_mean[:, None, None]) / (1 + head.norm.eps) ** 0.5
    first = up.clamp(min=0).mean((2, 3)) @ head.first.weight.T + head.first.bias
    expected = first.clamp(min=0) @ head.second.weight.T + head.second.bias
    torch.testing.assert_close(head(maps), expected)
    vector = torch.randn(2, 6)
    assert torch.equal(head(vector), head(vector[:, :, None, None]))


def test_strips_compute_their_definition():
    torch.manual_seed(1)
    head = heads.create_head("strips", 6, 6, 4).eval()
    maps = torch.randn(2, 6, heads.GRID, heads.GRID)
    scale = (1 + head.first_norm.eps) ** -0.5
    rows = torch.einsum("nciw,kcw->nki", maps, head.rows[:, :, 0]) * scale
    column = torch.einsum("nki,lki->nl", rows.clamp(min=0), head.column[:, :, :, 0]) * scale
    expected = column.clamp(min=0) @ head.last.weight.T + head.last.bias
    torch.testing.assert_close(head(maps), expected, rtol=1e-4, atol=1e-4)
    assert head(torch.randn(2, 6)).shape == head(torch.randn(2, 6, 3, 5)).shape == (2, 4)


@pytest.mark.parametrize(
    ("height", "width", "shape"), [(8, 4, 0), (7, 6, 1), (6, 7, 1), (5, 5, 1), (4, 8, 2)]
)
def test_tall_square_and_wide_maps_have_own_strips(height, width, shape):
    head = heads.create_head("shape_strips", 6, 6, 4)
    head(torch.randn(2, 6, height, width)).sum().backward()
    for weights in (head.rows, head.column):
        has_grad = [part.any().item() for part in weights.grad.chunk(3)]
        assert has_grad == [number == shape for number in range(3)]


@pytest.mark.parametrize("kind", heads.KINDS)
def test_heads_take_channels_last_memory(kind):
    """Networks are trained in this layout of memory, which knows tensors of four axes."""
    head = heads.create_head(kind, 6, 6, 4).to(memory_format=torch.channels_last)
    maps = torch.randn(2, 6, 7, 5).to(memory_format=torch.channels_last)
    assert head(maps if head.takes_map else maps.mean((2, 3))).shape == (2, 4)


def test_a_low_rank_reduces_the_parameters():
    full, low = (heads.create_head("wide", 6, 6, 500, rank) for rank in (0, 10))
    squares = [sum(p.numel() for p in h.first.parameters()) for h in (full, low)]
    assert squares == [500 * 500 + 500, 2 * 500 * 10 + 500]
    assert low(torch.randn(2, 6)).shape == (2, 500)
    assert low.out_features == full.out_features == 500


@pytest.mark.parametrize(
    ("kind", "rank", "dropout", "message"),
    [
        ("square", 0, 0.0, "head = 'square': choose one of linear, wide, strips, shape_strips"),
        ("linear", 3, 0.0, "head_rank = 3"),
        ("wide", -1, 0.0, "head_rank = -1"),
        ("linear", 0, 1.0, "dropout = 1.0"),
    ],
)
def test_impossible_heads_are_refused(kind, rank, dropout, message):
    with pytest.raises(UserError, match=message):
        heads.create_head(kind, 6, 6, 3, rank, dropout)


@pytest.mark.parametrize("name", ["small", "alexnet", "bninception", "convnext_atto"])
def test_a_wide_head_trains_on_every_kind_of_backbone(name):
    torch.manual_seed(1)
    net = create_model(name, 40, "none", head="wide", head_rank=8).train()
    images = net.normalise(torch.randint(0, 256, (3, 3, 64, 64), dtype=torch.uint8))
    functional.cross_entropy(net(images), torch.tensor([0, 1, 2])).backward()
    parts = [net.head, net.units[0][0]]
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for m in parts for p in m.parameters())
    assert net.embed(images).shape == (3, net.num_features)


def test_a_wide_head_reads_the_map_before_pooling():
    torch.manual_seed(1)
    net = create_model("small", 3, "none", head="wide").eval()
    images = net.normalise(torch.randint(0, 256, (2, 3, 64, 64), dtype=torch.uint8))
    maps = []
    net.head.register_forward_pre_hook(lambda module, inputs: maps.append(inputs[0]))
    with torch.inference_mode():
        net(images)
        torch.testing.assert_close(maps[0].mean((2, 3)), net.embed(images))
    assert maps[0].shape == (2, 256, 4, 4)


def test_a_checkpoint_with_a_wide_head_loads_into_the_same_kind(tmp_path):
    net = create_model("small", 4, "none", head="wide", head_rank=2)
    path = tmp_path / "a.pt"
    torch.save({"network": "small", "classes": 4, "model": net.state_dict()}, path)
    same_kind = create_model("small", 4, str(path), head="wide", head_rank=2)
    assert all(torch.equal(same_kind.state_dict()[key], v) for key, v in net.state_dict().items())
    full_rank = create_model("small", 4, str(path), head="wide")
    assert torch.equal(
        full_rank.body.state_dict()["0.0.weight"], net.body.state_dict()["0.0.weight"]
    )
    assert full_rank.head.first.weight.shape == (4, 4)
    linear = create_model("small", 4, str(path))
    assert linear.head.weight.shape == (4, 256)


@pytest.mark.parametrize("kind", heads.KINDS)
def test_logits_are_computed_in_float32_under_autocast(kind):
    """In bf16, thousands of classes share a few hundred values."""
    torch.manual_seed(1)
    num_classes = 2000
    head = heads.create_head(kind, 16, 16, num_classes, 8 if kind == "wide" else 0).eval()
    with torch.autocast("cpu", torch.bfloat16):
        logits = head(torch.randn(1, 16))
    assert logits.dtype == torch.float32
    assert len(logits.unique()) > 0.95 * num_classes


def test_the_linear_head_gives_under_autocast_what_it_gives_in_float32():
    head, features = heads.create_head("linear", 16, 16, 30), torch.randn(4, 16)
    with torch.autocast("cpu", torch.bfloat16):
        rounded = head(features.bfloat16())
    assert torch.equal(rounded, head(features.bfloat16().float()))
