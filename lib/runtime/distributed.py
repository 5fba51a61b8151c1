"""Several processes that train one network together, started by torchrun.

    torchrun --nproc-per-node 4 02_train_cnn.py --config configs/fashion.toml

Each rank works on its shard of every batch, and all ranks take the same step (torch's
DistributedDataParallel). The batch size stays that of one process. The trained network stays the
same too, up to the order in which numbers are added, with two exceptions:

- dropout draws other numbers, and mixup mixes only the images of one shard with each other;
- batch norms measure the whole batch on GPUs (SyncBatchNorm). Torch has none for CPUs: there they
  measure the shard, and their running statistics are averaged over the ranks after every step.

Losses, counts and decisions are exchanged as numbers on the CPU, by gloo. GPUs exchange only
gradients and batch norm statistics, by NCCL.
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

# The other ranks wait while the primary builds alone. If one dies, torchrun ends them all.
TIMEOUT = timedelta(days=7)


@dataclass(frozen=True)
class ProcessGroup:
    """This process, `rank` from 0, among `world_size` processes."""

    rank: int = 0
    world_size: int = 1

    @property
    def is_primary(self) -> bool:
        """Whether this rank writes files and reports progress."""
        return self.rank == 0

    def shard(self, count: int) -> slice:
        """The consecutive rows of `count` that this rank works on.

        If there are fewer rows than ranks, every rank gets all of them: torch's layers do not
        accept empty batches.
        """
        if count < self.world_size:
            return slice(0, count)
        base, extra = divmod(count, self.world_size)
        start = self.rank * base + min(self.rank, extra)
        return slice(start, start + base + (self.rank < extra))

    def shard_weight(self, count: int) -> float:
        """The factor for a mean over `shard(count)` that makes the mean over ranks exact.

        The mean over the ranks of `shard_weight(count) * mean(shard)` is the mean of all rows.
        """
        if count < self.world_size:
            return 1.0
        shard = self.shard(count)
        return self.world_size * (shard.stop - shard.start) / count

    def all_reduce_mean(self, values: np.ndarray) -> np.ndarray:
        """Mean over the ranks, value by value; values: of the same shape in every rank."""
        return self._all_reduce(values, dist.ReduceOp.SUM) / self.world_size

    def all_reduce_max(self, values: np.ndarray) -> np.ndarray:
        """Maximum over the ranks, value by value; values: of the same shape in every rank."""
        return self._all_reduce(values, dist.ReduceOp.MAX)

    def _all_reduce(self, values: np.ndarray, op: Any) -> np.ndarray:
        if self.world_size == 1:
            return values
        reduced = torch.from_numpy(values.copy())
        dist.all_reduce(reduced, op)
        return reduced.numpy()

    def broadcast(self, value: Any) -> Any:
        """The primary's `value`, in every rank; value: plain data."""
        if self.world_size == 1:
            return value
        box = [value]
        dist.broadcast_object_list(box, src=0, device=torch.device("cpu"))
        return box[0]

    def barrier(self) -> None:
        """Wait until every rank has called this."""
        self.all_reduce_mean(np.zeros(1))

    def sync_bn(self, model: nn.Module) -> None:
        """On a GPU, make the batch norms of `model` measure the batches of all ranks as one.

        Done in place, because `timm.layers.convert_sync_batchnorm` puts new modules into the
        parents, and models also list their layers in `units` for freezing. The class adds no
        weights or buffers, so the state dict keeps its keys.
        """
        if self.world_size == 1 or not next(model.parameters()).is_cuda:
            return
        for module in model.modules():
            sync_class = _sync_bn_class(module)
            if sync_class:
                module.__class__ = sync_class
                module.process_group = None  # type: ignore[assignment]

    def wrap_ddp(self, model: Any) -> Any:
        """Wrap `model` so that its gradients are averaged over the ranks.

        Wrap it again whenever other parameters train.
        """
        if self.world_size == 1:
            return model
        # A head on the map skips the pooling layers of the body, which may have weights.
        takes_map = getattr(getattr(model, "head", None), "takes_map", False)
        return DistributedDataParallel(
            model, forward_sync_buffers=False, find_unused_parameters=takes_map
        )

    def no_sync(self, ddp_model: Any, skip: bool) -> AbstractContextManager:
        """If `skip`, gradients only add up in this rank; the next pass without it shares them."""
        return ddp_model.no_sync() if skip and self.world_size > 1 else nullcontext()

    @torch.no_grad()
    def average_bn_stats(self, model: nn.Module) -> None:
        """Average the running statistics of batch norms that measure shards over the ranks."""
        if self.world_size == 1:
            return
        stats = [
            value
            for module in model.modules()
            if isinstance(module, nn.modules.batchnorm._BatchNorm) and module.training
            if not isinstance(module, nn.SyncBatchNorm)
            for value in (module.running_mean, module.running_var)
            if value is not None
        ]
        if stats:
            total = torch.cat(stats)
            dist.all_reduce(total)
            for value, part in zip(stats, total.split([len(v) for v in stats]), strict=True):
                value.copy_(part / self.world_size)


SINGLE = ProcessGroup()


def current() -> ProcessGroup:
    """The process group inside `init_process_group`; a single process outside of it."""
    if not dist.is_available() or not dist.is_initialized():
        return SINGLE
    return ProcessGroup(dist.get_rank(), dist.get_world_size())


@contextmanager
def init_process_group(run: Run) -> Iterator[ProcessGroup]:
    """Join the ranks that torchrun's environment describes; each takes one GPU of its machine.

    Raises UserError if there are more ranks than GPUs.
    """
    on_gpu = devices.uses_gpu(run)
    if on_gpu:
        local_rank, num_gpus = int(os.environ["LOCAL_RANK"]), torch.cuda.device_count()
        if local_rank >= num_gpus:
            raise UserError(
                f"torchrun started process {local_rank + 1} on a machine with {num_gpus} GPU(s);"
                f" start it with --nproc-per-node {num_gpus}"
            )
        torch.cuda.set_device(local_rank)
    dist.init_process_group("cpu:gloo,cuda:nccl" if on_gpu else "gloo", timeout=TIMEOUT)
    yield current()
    current().barrier()  # no rank may leave while another still waits for its last message
    # Not after an error: another rank may be waiting, and then this one would wait too.
    dist.destroy_process_group()


def _sync_bn_class(module: nn.Module) -> type[nn.Module] | None:
    """The synchronised class of a batch norm of a known class, else None."""
    if type(module) in (nn.BatchNorm1d, nn.BatchNorm2d):
        return nn.SyncBatchNorm
    if type(module).__name__ == "BatchNormAct2d":
        from timm.layers.norm_act import SyncBatchNormAct

        return SyncBatchNormAct
    return None
