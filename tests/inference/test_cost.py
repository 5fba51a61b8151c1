"""Costs are those of a forward pass, for each image."""

import numpy as np
import torch

from lib.inference.cost import TimedNetwork, measure_forward_ms


class Slow(torch.nn.Module):
    """Counts its images."""

    mean = torch.zeros(3)

    def __init__(self):
        super().__init__()
        self.count = 0

    def normalise(self, inputs):
        return inputs.float()

    def forward(self, images):
        self.count += len(images)
        return images


def test_all_networks_run_in_every_round(model):
    nets = {name: Slow() for name in ("a", "b")}
    images = np.zeros((5, 3, 4, 4), np.uint8)
    networks = {name: TimedNetwork(net, model, images) for name, net in nets.items()}
    costs = measure_forward_ms(networks, rounds=3)
    assert costs.keys() == {"a", "b"}
    assert all(cost > 0 for cost in costs.values())
    assert [net.count for net in nets.values()] == [20, 20]
