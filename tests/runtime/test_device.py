import pytest
import torch

from lib.config.schema import Model, Run
from lib.errors import UserError
from lib.models import factory
from lib.runtime import device as devices

CPU = Run(device="cpu")


def poison() -> None:
    """Leave memory full of no-numbers to whoever reads what it did not write."""
    for exponent in range(10, 22):
        blocks = [torch.full((1 << exponent,), float("nan")) for _ in range(4)]
        del blocks


def test_narrow_crops_in_bf16_are_refused_on_a_cpu():
    with pytest.raises(UserError, match="pixels wide"):
        devices.choose(CPU, Model(crop=(80, 32), precision="bf16"))
    assert devices.choose(CPU, Model(crop=(80, 32), precision="float32")).type == "cpu"
    assert devices.choose(CPU, Model(crop=(80, 33), precision="bf16")).type == "cpu"


@pytest.mark.parametrize("name", ["small", "resnet18"])
@pytest.mark.parametrize("crop", [(33, 33), (80, 33), (80, 60), (40, 64)])
def test_bf16_computes_on_a_cpu_what_float32_does(name, crop):
    """Where the refused sizes begin: at (80, 32) resnet18 fails here on a CPU with AMX."""
    torch.manual_seed(1)
    model = Model(crop=crop, precision="bf16")
    net = factory.build(name, 3, "none").to(memory_format=torch.channels_last)
    pictures = net.normalise(torch.randint(0, 256, (4, 3, *crop), dtype=torch.uint8))
    exact = net(pictures)
    poison()
    with devices.autocast(model, torch.device("cpu")):
        rounded = net(pictures)
    torch.testing.assert_close(rounded, exact, atol=0.1, rtol=0.1)
    poison()
    rounded.square().sum().backward()
    assert all(torch.isfinite(p.grad).all() for p in net.parameters() if p.grad is not None)


def test_auto_is_float32_on_a_cpu():
    convolution = torch.nn.Linear(2, 2)
    with devices.autocast(Model(precision="auto"), torch.device("cpu")):
        assert convolution(torch.ones(1, 2)).dtype == torch.float32
    with devices.autocast(Model(precision="bf16"), torch.device("cpu")):
        assert convolution(torch.ones(1, 2)).dtype == torch.bfloat16


def test_threads_are_bounded():
    devices.choose(Run(device="cpu", threads=2), Model())
    assert torch.get_num_threads() == 2


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"batch": 90, "accumulate": 2}, "batch = 90, crop = [160, 160]; lower batch, or set accu"),
        ({"batch": 90, "accumulate": 3}, "accumulate = 5:"),
        ({"batch": 64, "batches": ((2, 512),)}, "batch = 512, crop = [160, 160]; lower batches,"),
        ({"batch": 8, "accumulate": 8}, "lower batch"),
    ],
)
def test_the_remedy_for_too_little_memory_is_one_that_is_taken(settings, words):
    model = Model(**settings)
    remedy = devices.smaller_batch(model)
    assert words in remedy
    if "accumulate" in remedy:
        pieces = int(remedy.split("accumulate = ")[1].split(":")[0])
        assert pieces > model.accumulate
        assert model.batch % pieces == 0


def test_too_little_memory_to_predict_names_the_setting(tmp_path):
    remedy = devices.smaller_predict_batch(Run(predict_batch=512))
    with (
        pytest.raises(UserError, match=r"out of memory at run.predict_batch = 512; lower it"),
        devices.enough_memory(tmp_path, remedy),
    ):
        raise torch.OutOfMemoryError("CUDA out of memory")
    with pytest.raises(RuntimeError, match="shape"), devices.enough_memory(tmp_path, remedy):
        raise RuntimeError("shape")
