"""This process among several that train one network together, as torchrun starts them.

    torchrun --nproc-per-node 4 02_train_cnn.py --config configs/fashion.toml

Each of these ranks works on its part of every batch, and all take the same step (torch's DDP); so
`batch` stays that of one process, and so does the network, up to the order in which numbers are
added. It differs where numbers are drawn or measured over the pictures of a batch:

- dropout draws other numbers, and mixup mixes the pictures of a part with each other;
- batch norms measure the whole batch on GPUs (SyncBatchNorm). On CPUs, where torch has none, they
  measure the part; what they keep is then the mean over the ranks, after every step.

What a rank says of itself (losses, counts, decisions) passes as numbers on the CPU, by gloo; GPUs
exchange gradients and batch norms alone, by NCCL.
"""

import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from lib.config.schema import Run
from lib.errors import UserError
from lib.runtime import device as devices

# Others wait while the first builds what it alone can; if one dies, torchrun ends them all.
LONGEST = timedelta(days=7)


@dataclass(frozen=True)
class ProcessGroup:
    """The rank of this process, from 0, among `world` of them."""

    rank: int = 0
    world: int = 1

    @property
    def first(self) -> bool:
        """Whether this is the rank that writes and speaks."""
        return self.rank == 0

    def part(self, count: int) -> slice:
        """What this rank works on of `count` rows: neighbours; all, if there are fewer than ranks.

        So nobody has nothing to do, which torch's layers are not made for.
        """
        if count < self.world:
            return slice(0, count)
        each, more = divmod(count, self.world)
        start = self.rank * each + min(self.rank, more)
        return slice(start, start + each + (self.rank < more))

    def weight(self, count: int) -> float:
        """Of a mean over `part(count)`: then the mean over the ranks is that over all rows."""
        if count < self.world:
            return 1.0
        part = self.part(count)
        return self.world * (part.stop - part.start) / count

    def mean(self, values: np.ndarray) -> np.ndarray:
        """Over the ranks: of numbers of the same shape in each, the same result in all."""
        return self._reduced(values, dist.ReduceOp.SUM) / self.world

    def highest(self, values: np.ndarray) -> np.ndarray:
        """Over the ranks, value by value."""
        return self._reduced(values, dist.ReduceOp.MAX)

    def _reduced(self, values: np.ndarray, how: Any) -> np.ndarray:
        if self.world == 1:
            return values
        shared = torch.from_numpy(values.copy())
        dist.all_reduce(shared, how)
        return shared.numpy()

    def said(self, value: Any) -> Any:
        """What the first rank gives here, in all ranks; plain data."""
        if self.world == 1:
            return value
        box = [value]
        dist.broadcast_object_list(box, src=0, device=torch.device("cpu"))
        return box[0]

    def meet(self) -> None:
        """Wait until all ranks are here."""
        self.mean(np.zeros(1))

    def norms_of_all(self, net: nn.Module) -> None:
        """On a GPU, have the batch norms of `net` measure the batches of all ranks as one."""
        if self.world == 1:
            return
        for module in net.modules():
            kind = _synchronised(module)
            if kind and next(net.parameters()).is_cuda:
                # In place: networks know their layers by more than one name. The class adds no
                # weights or buffers, so the state is the same.
                module.__class__ = kind
                module.process_group = None  # type: ignore[assignment]

    def wrap(self, net: Any) -> Any:
        """`net`, whose gradients become the mean over the ranks; anew whenever others train."""
        if self.world == 1:
            return net
        # A head on the map leaves out what pools it in the body, and that may have weights.
        on_map = getattr(getattr(net, "head", None), "takes_map", False)
        return DistributedDataParallel(
            net, forward_sync_buffers=False, find_unused_parameters=on_map
        )

    def hold(self, wrapped: Any, held: bool) -> AbstractContextManager:
        """While `held`, gradients add up in this rank; the next pass without shares them all."""
        return wrapped.no_sync() if held and self.world > 1 else nullcontext()

    @torch.no_grad()
    def settle(self, net: nn.Module) -> None:
        """Where batch norms measure the parts: keep the mean of what they have measured."""
        if self.world == 1:
            return
        kept = [
            value
            for module in net.modules()
            if isinstance(module, nn.modules.batchnorm._BatchNorm) and module.training
            if not isinstance(module, nn.SyncBatchNorm)
            for value in (module.running_mean, module.running_var)
            if value is not None
        ]
        if kept:
            flat = torch.cat(kept)
            dist.all_reduce(flat)
            for value, mean in zip(kept, flat.split([len(v) for v in kept]), strict=True):
                value.copy_(mean / self.world)


SINGLE = ProcessGroup()


def here() -> ProcessGroup:
    """This process, once `joined` is entered; alone before and without."""
    if not dist.is_available() or not dist.is_initialized():
        return SINGLE
    return ProcessGroup(dist.get_rank(), dist.get_world_size())


@contextmanager
def joined(run: Run) -> Iterator[ProcessGroup]:
    """Meet the other ranks, as torchrun's environment tells; each takes a GPU of its own.

    Raises UserError where there are more ranks than GPUs.
    """
    on_gpu = devices.uses_gpu(run)
    if on_gpu:
        local, count = int(os.environ["LOCAL_RANK"]), torch.cuda.device_count()
        if local >= count:
            raise UserError(
                f"torchrun started process {local + 1} on a machine with {count} GPU(s);"
                f" start it with --nproc-per-node {count}"
            )
        torch.cuda.set_device(local)
    dist.init_process_group("cpu:gloo,cuda:nccl" if on_gpu else "gloo", timeout=LONGEST)
    yield here()
    # Not after an error: another rank may be waiting, and so would this one.
    dist.destroy_process_group()


def _synchronised(module: nn.Module) -> type[nn.Module] | None:
    """The kind that measures all ranks' batches, of what is a batch norm of a known kind."""
    if type(module) in (nn.BatchNorm1d, nn.BatchNorm2d):
        return nn.SyncBatchNorm
    if type(module).__name__ == "BatchNormAct2d":
        from timm.layers.norm_act import SyncBatchNormAct

        return SyncBatchNormAct
    return None
