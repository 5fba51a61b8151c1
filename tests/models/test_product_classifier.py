import numpy as np
import pytest
import torch

from lib.config.model import Model
from lib.data.products.reader import ProductImages
from lib.models import factory
from lib.models.classifier import ProductClassifier, pool_images

COUNT = torch.tensor([1, 3, 2, 4])


def network(**settings):
    torch.manual_seed(0)
    model = Model(arch="small", input="product", resize=(32, 32), crop=(32, 32), **settings)
    return factory.create_from_config(model, 5, "none").eval()


def products(seed=0):
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 256, (int(COUNT.sum()), 3, 32, 32), np.uint8)
    return ProductImages(torch.from_numpy(images), COUNT)


def predict(net, inputs):
    with torch.inference_mode():
        return net(net.normalise(inputs))


@pytest.mark.parametrize("pooling", ["mean", "max"])
def test_pooling_is_over_the_images_of_each_product(pooling):
    features = torch.randn(10, 3, 2, generator=torch.Generator().manual_seed(0))
    pooled = pool_images(features, COUNT, pooling)
    for product, own in zip(pooled, features.split(COUNT.tolist()), strict=True):
        torch.testing.assert_close(product, own.mean(0) if pooling == "mean" else own.amax(0))


@pytest.mark.parametrize("head", ["linear", "wide"])
@pytest.mark.parametrize("pooling", ["mean", "max"])
def test_a_product_of_one_image_has_the_prediction_of_the_image(head, pooling):
    net, inputs = network(head=head, image_pooling=pooling), products()
    assert isinstance(net, ProductClassifier)
    each = predict(net, ProductImages(inputs.images, torch.ones(10, dtype=torch.int64)))
    logits = predict(net, inputs)
    torch.testing.assert_close(logits[0], each[0])
    assert not torch.allclose(logits[1], each[1])


@pytest.mark.parametrize("pooling", ["mean", "max"])
def test_all_images_count_and_their_order_does_not(pooling):
    net, inputs = network(image_pooling=pooling), products()
    logits, owner = predict(net, inputs), np.repeat(np.arange(4), COUNT.numpy())
    mirrored = ProductImages(inputs.images.flip(0), COUNT.flip(0))
    torch.testing.assert_close(predict(net, mirrored), logits.flip(0), atol=1e-5, rtol=1e-4)
    for image in range(10):
        changed = inputs.images.clone()
        changed[image] = products(1).images[image]
        differs = (predict(net, ProductImages(changed, COUNT)) - logits).abs().amax(1) > 1e-6
        assert differs.nonzero().flatten().tolist() == [owner[image]]


def test_the_trunk_learns_from_every_image():
    net = network().train()
    images = net.normalise(products()).images.requires_grad_()
    net(ProductImages(images, COUNT)).square().sum().backward()
    assert (images.grad.abs().amax((1, 2, 3)) > 0).all()
