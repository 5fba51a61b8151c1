import pytest
import torch

from lib.errors import UserError
from lib.vision import heads


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(1)


def test_a_linear_head_is_one():
    head = heads.build("linear", 8, 0, 3)
    seen = torch.randn(4, 8)
    torch.testing.assert_close(head(seen), seen @ head.weight.T + head.bias)


def test_dropout_is_for_training_alone():
    head = heads.build("linear", 400, 0, 3, dropout=0.5)
    seen = torch.ones(2, 400)
    assert not torch.equal(head(seen)[0], head(seen)[1])
    head.eval()
    torch.testing.assert_close(head(seen), seen @ head.weight.T + head.bias)


@pytest.mark.parametrize("rank", [0, 2])
def test_a_wide_head_by_its_definition(rank):
    head = heads.build("wide", 8, 8, 5, rank).eval()
    maps = torch.randn(4, 8, 3, 2)
    up = torch.einsum("nchw,kc->nkhw", maps, head.up.weight[:, :, 0, 0])
    pooled = (up / (1 + head.norm.eps) ** 0.5).relu().mean((2, 3))
    wanted = head.second(head.first(pooled).relu())
    torch.testing.assert_close(head(maps), wanted)
    sizes = sum(p.numel() for p in head.first.parameters())
    assert sizes == (5 * 5 + 5 if rank == 0 else 2 * 5 * 2 + 5)


def test_a_vector_is_a_map_of_one_pixel():
    head = heads.build("wide", 8, 0, 5).eval()
    seen = torch.randn(4, 8)
    torch.testing.assert_close(head(seen), head(seen[:, :, None, None]))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("deep", 8, 8, 5), "choose one of linear, wide"),
        (("linear", 8, 8, 5, 2), "head_rank = 2"),
        (("linear", 8, 8, 5, 0, 1.0), "dropout = 1.0"),
    ],
)
def test_heads_that_cannot_be_are_refused(arguments, message):
    with pytest.raises(UserError, match=message):
        heads.build(*arguments)
