import pytest
import torch
from torch.nn import functional

from lib.errors import UserError
from lib.models import factory, heads


def test_the_plain_head_is_a_linear_layer():
    torch.manual_seed(1)
    head = heads.build("linear", 6, 6, 3)
    torch.manual_seed(1)
    assert torch.equal(head.weight, torch.nn.Linear(6, 3).weight)
    assert set(head.state_dict()) == {"weight", "bias"}
    seen = torch.randn(4, 6)
    assert torch.equal(head(seen), functional.linear(seen, head.weight, head.bias))


def test_dropout_leaves_values_out_in_training_alone():
    seen = torch.ones(64, 50)
    for kind in heads.KINDS:
        head = heads.build(kind, 50, 50, 30, dropout=0.5)
        assert not torch.equal(head(seen), head(seen))
        head.eval()
        assert torch.equal(head(seen), head(seen))


def test_a_wide_head_computes_what_the_winners_wrote():
    torch.manual_seed(1)
    head = heads.build("wide", 6, 6, 4).eval()
    head.norm.running_mean.normal_()
    maps = torch.randn(2, 6, 3, 5)
    up = torch.einsum("ncij,kc->nkij", maps, head.up.weight[:, :, 0, 0])
    up = (up - head.norm.running_mean[:, None, None]) / (1 + head.norm.eps) ** 0.5
    first = up.clamp(min=0).mean((2, 3)) @ head.first.weight.T + head.first.bias
    wanted = first.clamp(min=0) @ head.second.weight.T + head.second.bias
    torch.testing.assert_close(head(maps), wanted)
    vector = torch.randn(2, 6)
    assert torch.equal(head(vector), head(vector[:, :, None, None]))


def test_a_low_rank_saves_weights():
    full, low = (heads.build("wide", 6, 6, 500, rank) for rank in (0, 10))
    squares = [sum(p.numel() for p in h.first.parameters()) for h in (full, low)]
    assert squares == [500 * 500 + 500, 2 * 500 * 10 + 500]
    assert low(torch.randn(2, 6)).shape == (2, 500)
    assert low.out_features == full.out_features == 500


@pytest.mark.parametrize(
    ("kind", "rank", "dropout", "said"),
    [
        ("square", 0, 0.0, "head = 'square': choose one of linear, wide"),
        ("linear", 3, 0.0, "head_rank = 3"),
        ("wide", -1, 0.0, "head_rank = -1"),
        ("linear", 0, 1.0, "dropout = 1.0"),
    ],
)
def test_what_cannot_be_is_refused(kind, rank, dropout, said):
    with pytest.raises(UserError, match=said):
        heads.build(kind, 6, 6, 3, rank, dropout)


@pytest.mark.parametrize("network", ["small", "alexnet", "bninception", "convnext_atto"])
def test_a_wide_head_learns_on_every_kind_of_body(network):
    torch.manual_seed(1)
    net = factory.build(network, 40, "none", head="wide", head_rank=8).train()
    pictures = net.normalise(torch.randint(0, 256, (3, 3, 64, 64), dtype=torch.uint8))
    functional.cross_entropy(net(pictures), torch.tensor([0, 1, 2])).backward()
    parts = [net.head, net.units[0][0]]
    print(
        [(n, p.grad is None or p.grad.abs().sum()) for m in parts for n, p in m.named_parameters()]
    )
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for m in parts for p in m.parameters())
    assert net.embed(pictures).shape == (3, net.width)


def test_a_wide_head_sees_the_map_before_its_mean():
    torch.manual_seed(1)
    net = factory.build("small", 3, "none", head="wide").eval()
    pictures = net.normalise(torch.randint(0, 256, (2, 3, 64, 64), dtype=torch.uint8))
    seen = []
    net.head.register_forward_pre_hook(lambda module, given: seen.append(given[0]))
    with torch.inference_mode():
        net(pictures)
        torch.testing.assert_close(seen[0].mean((2, 3)), net.embed(pictures))
    assert seen[0].shape == (2, 256, 4, 4)


def test_a_checkpoint_with_a_wide_head_fills_one_of_its_kind(tmp_path):
    net = factory.build("small", 4, "none", head="wide", head_rank=2)
    path = tmp_path / "a.pt"
    torch.save({"network": "small", "classes": 4, "model": net.state_dict()}, path)
    same = factory.build("small", 4, str(path), head="wide", head_rank=2)
    assert all(torch.equal(same.state_dict()[key], v) for key, v in net.state_dict().items())
    other = factory.build("small", 4, str(path), head="wide")
    assert torch.equal(other.body.state_dict()["0.0.weight"], net.body.state_dict()["0.0.weight"])
    assert other.head.first.weight.shape == (4, 4)
    plain = factory.build("small", 4, str(path))
    assert plain.head.weight.shape == (4, 256)
