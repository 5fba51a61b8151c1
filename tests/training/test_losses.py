import numpy as np
import pytest
import torch
from torch.nn import functional

from lib.config.model import Loss
from lib.training.losses import LabelSetLosses, Losses, mixup_batch, weighted_mean

LEVELS = [np.array([0, 0, 1, 1, 1]), np.array([0, 1, 2, 2, 3])]


@pytest.fixture
def batch():
    torch.manual_seed(3)
    return torch.randn(7, 5) * 2, torch.randint(0, 5, (7,))


def test_the_default_is_cross_entropy(batch):
    expected = functional.cross_entropy(*batch, reduction="none")
    torch.testing.assert_close(Losses(Loss())(*batch), expected)


def test_smoothing_spreads_the_label(batch):
    logits, targets = batch
    soft = 0.9 * functional.one_hot(targets, 5) + 0.1 / 5
    expected = -(soft * logits.log_softmax(1)).sum(1)
    torch.testing.assert_close(Losses(Loss(label_smoothing=0.1))(*batch), expected)


def test_focal_loss_weighs_easy_rows_less(batch):
    logits, targets = batch
    right = logits.softmax(1)[torch.arange(7), targets]
    expected = -((1 - right) ** 2) * right.log()
    torch.testing.assert_close(Losses(Loss(focal_gamma=2.0))(*batch), expected)


def test_focal_loss_keeps_the_effect_of_label_smoothing(batch):
    logits, targets = batch
    probs = logits.softmax(1)
    soft = 0.9 * functional.one_hot(targets, 5) + 0.1 / 5
    expected = -(soft * (1 - probs) ** 2 * probs.log()).sum(1)
    torch.testing.assert_close(Losses(Loss(focal_gamma=2.0, label_smoothing=0.1))(*batch), expected)
    margins = torch.linspace(0, 30, 301)
    rows = torch.stack([margins, *[torch.zeros(301)] * 4], 1)
    losses = Losses(Loss(focal_gamma=1.0, label_smoothing=0.1))(
        rows, torch.zeros(301, dtype=torch.int64)
    )
    assert 1 < margins[losses.argmin()] < 10  # and not the largest


@pytest.mark.parametrize("gamma", [0.5, 1.0, 2.0])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_focal_loss_has_a_finite_gradient_at_probability_1(gamma, smoothing):
    logits = torch.tensor([[40.0, 0.0, 0.0], [0.0, 40.0, 0.0]], requires_grad=True)
    losses = Losses(Loss(focal_gamma=gamma, label_smoothing=smoothing))
    losses(logits, torch.tensor([0, 0])).sum().backward()
    assert torch.isfinite(logits.grad).all()
    assert logits.grad[1, 0] < 0


def test_the_hierarchical_loss_is_the_mean_cross_entropy_of_levels(batch):
    logits, targets = batch
    probs = logits.softmax(1).numpy()
    expected = functional.cross_entropy(*batch, reduction="none").numpy()
    for level in LEVELS:
        for row in range(7):
            own = probs[row][level == level[targets[row]]].sum()
            expected[row] -= 0.3 * np.log(own) / len(LEVELS)
    losses = Losses(Loss(hierarchy_weight=0.3), LEVELS)(*batch)
    np.testing.assert_allclose(losses.numpy(), expected, rtol=1e-5)


def test_without_levels_there_is_no_hierarchical_loss(batch):
    torch.testing.assert_close(Losses(Loss(hierarchy_weight=1.0))(*batch), Losses(Loss())(*batch))


def test_a_level_is_correct_if_the_most_probable_group_is(batch):
    logits, targets = batch
    probs = logits.softmax(1).numpy()
    for level, correct in zip(LEVELS, Losses(Loss(), LEVELS).correct_by_level(*batch), strict=True):
        groups = np.stack([probs[:, level == g].sum(1) for g in range(level.max() + 1)], 1)
        np.testing.assert_array_equal(correct.numpy(), groups.argmax(1) == level[targets.numpy()])


def test_a_group_of_probability_0_has_a_finite_gradient():
    logits = torch.tensor([[200.0, 0.0, 0.0, 0.0, 0.0]], requires_grad=True)
    loss = Losses(Loss(focal_gamma=1.5, hierarchy_weight=1.0), LEVELS)(
        logits, torch.tensor([4])
    ).sum()
    loss.backward()
    assert torch.isfinite(loss)
    assert torch.isfinite(logits.grad).all()


def test_mixup_mixes_inputs_with_others_of_the_batch():
    torch.manual_seed(0)
    inputs = torch.randn(6, 3, 2, 2)
    mixed, partner, share = mixup_batch(inputs, 0.4)
    assert 0 <= share <= 1
    assert sorted(partner.tolist()) == list(range(6))
    torch.testing.assert_close(mixed, share * inputs + (1 - share) * inputs[partner])
    shares = [mixup_batch(inputs, 0.4)[2] for _ in range(300)]
    assert np.mean(shares) == pytest.approx(0.5, abs=0.08)
    assert (
        np.mean([min(s, 1 - s) < 0.1 for s in shares]) > 0.3
    )  # most often close to one of the two


def test_the_weighted_mean_divides_by_the_number_of_rows():
    loss, weight = torch.tensor([1.0, 3.0]), torch.tensor([1.0, 0.5])
    assert float(weighted_mean(loss, weight)) == 1.25
    assert float(weighted_mean(loss, None)) == 2.0


SETS = torch.tensor([[1, 0, -1, 1, 0], [-1, -1, 1, 0, 0]], dtype=torch.int8)


@pytest.mark.parametrize(("smoothing", "gamma"), [(0.0, 0.0), (0.1, 0.0), (0.0, 2.0), (0.1, 1.5)])
def test_the_loss_of_a_set_is_that_of_its_classes_one_by_one(batch, smoothing, gamma):
    logits = batch[0][:2]
    settings = Loss(label_smoothing=smoothing, focal_gamma=gamma)
    losses = LabelSetLosses(settings, unannotated_weight=0.25)
    expected = torch.zeros(2)
    for row in range(2):
        for column in range(5):
            prob, target = logits[row, column].sigmoid(), int(SETS[row, column])
            truth = (1 - smoothing) * (target == 1) + smoothing / 2
            loss = truth * (1 - prob) ** gamma * prob.log()
            loss += (1 - truth) * prob**gamma * (1 - prob).log()
            expected[row] -= loss * (0.25 if target < 0 else 1)
    torch.testing.assert_close(losses(logits, SETS), expected)
    if not smoothing and not gamma:
        torch.testing.assert_close(losses.plain_sum(logits, SETS), expected.sum())


def test_a_class_of_a_set_has_the_gradient_of_cross_entropy(batch):
    logits = batch[0][:2].clone().requires_grad_()
    LabelSetLosses(Loss(), 1.0)(logits, SETS).sum().backward()
    torch.testing.assert_close(logits.grad, logits.detach().sigmoid() - (SETS == 1).float())


def test_a_row_is_correct_if_its_most_probable_class_is_in_its_set():
    logits = torch.tensor([[0.0, 1, 2, 3, 1], [5.0, 1, 2, 3, 1]])
    assert LabelSetLosses(Loss(), 0.1).correct(logits, SETS).tolist() == [True, False]
