import pytest
import torch

from lib.config.model import WeightAveraging
from lib.models import factory
from lib.training.weight_averaging import WeightAverage, create_average, measure_batch_norms


@pytest.fixture
def net():
    torch.manual_seed(1)
    return factory.create_model("small", 3, "none")


def random_walk(net, steps):
    """The head's weights so far, after each of some random steps."""
    history = []
    for _ in steps:
        with torch.no_grad():
            net.head.weight.add_(torch.randn_like(net.head.weight))
        history.append(net.head.weight.detach().clone())
        yield history


def test_there_is_no_average_by_default(net):
    assert create_average(WeightAveraging(), net) is None


def test_an_ema_follows_every_step_with_a_rising_decay(net):
    average = WeightAverage(WeightAveraging("ema", ema_decay=0.6), net)
    expected = net.head.weight.detach().clone()
    for taken, history in enumerate(random_walk(net, range(9))):
        average.after_step()
        decay = min(0.6, (1 + taken) / (10 + taken))
        expected = decay * expected + (1 - decay) * history[-1]
    torch.testing.assert_close(average.values["head.weight"], expected)
    average.after_epoch(0, 1)
    torch.testing.assert_close(average.values["head.weight"], expected)


def test_swa_is_the_mean_of_the_last_epochs(net):
    average = WeightAverage(WeightAveraging("swa", swa_start=0.5), net)
    for epoch, weights in enumerate(random_walk(net, range(4))):
        history = weights
        average.after_step()
        average.after_epoch(epoch, 4)
        assert average.started == (epoch >= 2)
    torch.testing.assert_close(average.values["head.weight"], (history[2] + history[3]) / 2)


def test_the_model_gets_its_own_weights_back(net):
    average = WeightAverage(WeightAveraging("ema"), net)
    for _ in random_walk(net, range(3)):
        average.after_step()
    own = {key: value.clone() for key, value in net.state_dict().items()}
    with average.swapped_in([]):
        torch.testing.assert_close(net.head.weight.detach(), average.values["head.weight"])
        assert not torch.equal(net.head.weight, own["head.weight"])
    for key, value in net.state_dict().items():
        assert torch.equal(value, own[key])


def test_a_saved_average_continues(net):
    average = WeightAverage(WeightAveraging("ema"), net)
    for _ in random_walk(net, range(3)):
        average.after_step()
    other = WeightAverage(WeightAveraging("ema"), net)
    other.load_state_dict(average.state_dict())
    assert other.num_averaged == 3
    torch.testing.assert_close(other.values, average.values)


def test_batch_norms_are_measured_on_the_batches(net):
    batches = [torch.randn(4, 3, 32, 32) * 3 + 1 for _ in range(3)]
    norm = net.units[0][0][1]
    maps = [net.units[0][0][0](batch) for batch in batches]
    measure_batch_norms(net, batches)
    means = torch.stack([m.mean((0, 2, 3)) for m in maps]).mean(0)
    torch.testing.assert_close(norm.running_mean, means.detach())
    assert norm.momentum == 0.1


def test_frozen_batch_norms_keep_their_statistics(net):
    net.freeze_until(2)
    before = net.units[0][0][1].running_mean.clone()
    measure_batch_norms(net, [torch.randn(4, 3, 32, 32)])
    assert torch.equal(net.units[0][0][1].running_mean, before)
    assert not torch.equal(net.units[3][0][1].running_mean, torch.zeros(192))
