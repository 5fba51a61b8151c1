"""Which sizes every network of the zoo takes: a step of training and a prediction at each.

    python -m studies.zoo
    python -m studies.zoo --sizes 64 224 --networks resnet50 convnext_tiny

Random weights, one thread, one network at a time: nothing is fetched, and the largest needs a few
GB. A table comes out, in Markdown, line by line. A size that a network refuses is marked so, with
the sizes that it takes in their own column; a size that it takes and then fails at is an error, and
the exit status is 1. A network that takes its process down is tried once more, each size in a
process of its own. Through the hundreds of batch norms of polynet gradients of random weights and
two pictures are no numbers; `--pictures 8` is enough.
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
AT_ONCE = 10  # networks after which a new process begins
OF_TIMM = (
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
    """What was seen of a network: `cells` says of each size how it went."""

    network: str
    parameters: int
    width: int
    takes: str
    cells: tuple[str, ...]


def look(network: str, sizes: Sequence[int], pictures: int = 2) -> Row:
    """Train and predict at each size in turn."""
    torch.set_num_threads(1)
    torch.manual_seed(1)
    try:
        net = factory.create_model(network, CLASSES, "none")
    except UserError as error:
        return Row(network, 0, 0, str(error), ("failed",) * len(sizes))
    size = net.input_size
    takes = f"{size.fixed} alone" if size.fixed else f"from {size.min}"
    parameters = sum(parameter.numel() for parameter in net.body.parameters())
    cells = tuple(attempt(net, side, pictures) for side in sizes)
    return Row(network, parameters, net.num_features, takes, cells)


def looks(networks: Sequence[str], sizes: Sequence[int], pictures: int = 2) -> Iterator[Row]:
    """Of all, in a process that is replaced now and then: big networks leave memory behind.

    A pool each, since one with `max_tasks_per_child` may wait for ever (CPython issue 115634).
    """
    waiting = deque(networks)
    while waiting:
        with ProcessPoolExecutor(1, SPAWN) as alone:
            for _ in range(min(AT_ONCE, len(waiting))):
                network = waiting.popleft()
                try:
                    yield alone.submit(look, network, sizes, pictures).result()
                except BrokenProcessPool:
                    yield _size_by_size(network, sizes, pictures)
                    break


def _size_by_size(network: str, sizes: Sequence[int], pictures: int) -> Row:
    """Each in a process of its own, which may die of it."""
    found = Row(network, 0, 0, "", ())
    cells: list[str] = []
    for size in sizes:
        try:
            with ProcessPoolExecutor(1, SPAWN) as alone:
                found = alone.submit(look, network, (size,), pictures).result()
            cells.extend(found.cells)
        except BrokenProcessPool:
            cells.append("failed: the process died")
    return replace(found, cells=tuple(cells))


def attempt(net: ImageClassifier, side: int, pictures: int) -> str:
    """Whether it went well: "ok", "refused", or what went wrong."""
    try:
        net.check_size((side, side))
    except UserError:
        return "refused"
    try:
        _step(net, side, pictures)
        _predict(net, side, pictures)
    except (RuntimeError, ValueError, AssertionError, TypeError, AttributeError) as error:
        return f"failed: {type(error).__name__}"
    return "ok"


def _pictures(net: ImageClassifier, side: int, count: int) -> torch.Tensor:
    return net.normalise(torch.randint(0, 256, (count, 3, side, side), dtype=torch.uint8))


def _step(net: ImageClassifier, side: int, pictures: int) -> None:
    """One of SGD; raises ValueError for gradients that are no numbers."""
    net.freeze_body(False)
    net.train()
    for module in net.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.momentum = 1.0  # one step is to know its pictures as well as many would
    optimizer = torch.optim.SGD(net.parameters(), lr=1e-4)
    truth = torch.arange(pictures) % CLASSES
    functional.cross_entropy(net(_pictures(net, side, pictures)), truth).backward()
    if not bool(nn.utils.clip_grad_norm_(net.parameters(), 1.0).isfinite()):
        raise ValueError("gradients")
    optimizer.step()


def _predict(net: ImageClassifier, side: int, pictures: int) -> None:
    net.freeze_body(True)
    net.eval()
    with torch.inference_mode():
        logits = net(_pictures(net, side, pictures))
    if logits.shape != (pictures, CLASSES) or not bool(logits.isfinite().all()):
        raise ValueError("logits")


def header(sizes: Sequence[int]) -> str:
    """The first two lines of the table, in Markdown."""
    head = ["network", "parameters", "width", "takes", *map(str, sizes)]
    return "\n".join((_line(head), _line(["---", *["---:"] * 2, *["---"] * (1 + len(sizes))])))


def line(row: Row) -> str:
    """A network's line of the table."""
    millions = f"{row.parameters / 1e6:.1f} M"
    return _line([f"`{row.network}`", millions, str(row.width), row.takes, *row.cells])


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m studies.zoo", description=__doc__)
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES, help="pixels a side")
    parser.add_argument("--networks", nargs="+", help="all but timm's, and some of timm's")
    parser.add_argument("--pictures", type=int, default=2, help="of a step (%(default)s)")
    asked = parser.parse_args()
    networks = asked.networks or [*factory.list_models(), *OF_TIMM]
    print(header(asked.sizes), flush=True)
    failed = False
    rows = looks(networks, asked.sizes, asked.pictures)
    for row in tqdm(rows, total=len(networks), unit=" networks", disable=None):
        tqdm.write(line(row))
        sys.stdout.flush()
        failed |= any(cell.startswith("failed") for cell in row.cells)
    sys.exit(failed)


if __name__ == "__main__":
    main()
