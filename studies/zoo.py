"""Input sizes that each network accepts: a training step and a prediction at each size.

    python -m studies.zoo
    python -m studies.zoo --sizes 64 224 --networks resnet50 convnext_tiny

Random weights, one thread, one network at a time: nothing is downloaded; the largest network needs
a few GB. Prints a Markdown table line by line. A size that a network refuses is marked "refused",
and the accepted sizes have their own column. A size that is accepted and then fails is an error,
and the exit status is 1. A network that crashes its process is tried again with each size in a
separate process. With random weights and two images the gradients of polynet overflow in its
hundreds of batch norms; use `--images 8`.
"""

import argparse
import multiprocessing
import sys
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, replace

import torch
from torch import nn
from torch.nn import functional
from tqdm import tqdm

from lib.errors import UserError
from lib.models import factory
from lib.models.classifier import ImageClassifier

SPAWN = multiprocessing.get_context("spawn")
SIZES = (64, 96, 160, 224)
CLASSES = 7
NETWORKS_PER_PROCESS = 10
TIMM_SAMPLE = (
    "convnext_atto",
    "convnext_tiny",
    "convnextv2_nano",
    "tf_efficientnetv2_b0",
    "efficientnetv2_rw_t",
    "efficientnet_b0",
    "mobilenetv3_large_100",
    "mobilenetv4_conv_small",
    "regnety_008",
    "resnet50d",
    "timm/resnet50",
    "seresnext50_32x4d",
    "nfnet_l0",
    "resnetv2_50x1_bit",
    "repvgg_a0",
    "hgnetv2_b0",
    "fastvit_t8",
    "poolformer_s12",
    "mambaout_tiny",
    "vit_small_patch14_dinov2",
    "vit_small_patch14_reg4_dinov2",
    "vit_small_patch16_dinov3",
    "vit_base_patch16_siglip_224",
    "vit_base_patch16_clip_224",
    "vit_small_patch16_224",
    "deit3_small_patch16_224",
    "eva02_tiny_patch14_224",
    "beit_base_patch16_224",
    "swin_tiny_patch4_window7_224",
    "swinv2_tiny_window8_256",
    "coatnet_0_rw_224",
    "maxvit_tiny_tf_224",
    "mobilevit_s",
    "mixer_s16_224",
    "levit_128",
)


@dataclass(frozen=True)
class Row:
    """One network: its parameters, width and accepted sizes, and a result for each tried size."""

    network: str
    parameters: int
    width: int
    accepts: str
    results: tuple[str, ...]


def check_network(network: str, sizes: Sequence[int], images: int = 2) -> Row:
    """Train and predict at each size (pixels a side)."""
    torch.set_num_threads(1)
    torch.manual_seed(1)
    try:
        net = factory.create_model(network, CLASSES, "none")
    except UserError as error:
        return Row(network, 0, 0, str(error), ("failed",) * len(sizes))
    size = net.input_size
    accepts = f"{size.fixed} alone" if size.fixed else f"from {size.min}"
    parameters = sum(parameter.numel() for parameter in net.body.parameters())
    results = tuple(check_size(net, side, images) for side in sizes)
    return Row(network, parameters, net.num_features, accepts, results)


def check_networks(networks: Sequence[str], sizes: Sequence[int], images: int = 2) -> Iterator[Row]:
    """Check all networks in a process that is replaced now and then, to free its memory.

    Each process is a pool of its own: `max_tasks_per_child` may deadlock (CPython issue 115634).
    """
    waiting = deque(networks)
    while waiting:
        with ProcessPoolExecutor(1, SPAWN) as process:
            for _ in range(min(NETWORKS_PER_PROCESS, len(waiting))):
                network = waiting.popleft()
                try:
                    yield process.submit(check_network, network, sizes, images).result()
                except BrokenProcessPool:
                    yield _size_by_size(network, sizes, images)
                    break


def _size_by_size(network: str, sizes: Sequence[int], images: int) -> Row:
    """Check each size in a separate process, which may crash."""
    row = Row(network, 0, 0, "", ())
    results: list[str] = []
    for size in sizes:
        try:
            with ProcessPoolExecutor(1, SPAWN) as process:
                row = process.submit(check_network, network, (size,), images).result()
            results.extend(row.results)
        except BrokenProcessPool:
            results.append("failed: the process died")
    return replace(row, results=tuple(results))


def check_size(net: ImageClassifier, side: int, images: int) -> str:
    """Train and predict at one size: "ok", "refused", or the failure."""
    try:
        net.check_size((side, side))
    except UserError:
        return "refused"
    try:
        _step(net, side, images)
        _predict(net, side, images)
    except (RuntimeError, ValueError, AssertionError, TypeError, AttributeError) as error:
        return f"failed: {type(error).__name__}"
    return "ok"


def _random_images(net: ImageClassifier, side: int, count: int) -> torch.Tensor:
    return net.normalise(torch.randint(0, 256, (count, 3, side, side), dtype=torch.uint8))


def _step(net: ImageClassifier, side: int, images: int) -> None:
    """One step of SGD. Raises ValueError for gradients that are not finite."""
    net.freeze_body(False)
    net.train()
    for module in net.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.momentum = 1.0  # one step must set the statistics that many steps would
    optimizer = torch.optim.SGD(net.parameters(), lr=1e-4)
    truth = torch.arange(images) % CLASSES
    functional.cross_entropy(net(_random_images(net, side, images)), truth).backward()
    if not bool(nn.utils.clip_grad_norm_(net.parameters(), 1.0).isfinite()):
        raise ValueError("gradients")
    optimizer.step()


def _predict(net: ImageClassifier, side: int, images: int) -> None:
    net.freeze_body(True)
    net.eval()
    with torch.inference_mode():
        logits = net(_random_images(net, side, images))
    if logits.shape != (images, CLASSES) or not bool(logits.isfinite().all()):
        raise ValueError("logits")


def header(sizes: Sequence[int]) -> str:
    """The two header lines of the Markdown table."""
    head = ["network", "parameters", "width", "accepts", *map(str, sizes)]
    return "\n".join((_line(head), _line(["---", *["---:"] * 2, *["---"] * (1 + len(sizes))])))


def line(row: Row) -> str:
    """The table line of a network."""
    millions = f"{row.parameters / 1e6:.1f} M"
    return _line([f"`{row.network}`", millions, str(row.width), row.accepts, *row.results])


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def main() -> None:
    """Print the table; exit status 1 if a network fails at a size that it accepts."""
    parser = argparse.ArgumentParser(
        prog="python -m studies.zoo",
        description="Input sizes that each network accepts.",
        epilog="example: python -m studies.zoo --sizes 64 224 --networks resnet50 convnext_tiny",
    )
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES, help="pixels a side")
    parser.add_argument(
        "--networks", nargs="+", help="(default: all but timm's, and a sample of timm's)"
    )
    parser.add_argument("--images", type=int, default=2, help="images of a step (%(default)s)")
    arguments = parser.parse_args()
    networks = arguments.networks or [*factory.list_models(), *TIMM_SAMPLE]
    print(header(arguments.sizes), flush=True)
    failed = False
    rows = check_networks(networks, arguments.sizes, arguments.images)
    for row in tqdm(rows, total=len(networks), unit=" networks", disable=None):
        tqdm.write(line(row))
        sys.stdout.flush()
        failed |= any(cell.startswith("failed") for cell in row.results)
    sys.exit(failed)


if __name__ == "__main__":
    main()
