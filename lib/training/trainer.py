"""`train_model`: the training loop, read from top to bottom.

An epoch consists of chunks of `CHUNK_STEPS` steps. All random numbers of a chunk follow from (seed,
epoch, chunk), and a checkpoint is only written between two chunks. So a run that was killed and
resumed ends, on a CPU, with the same bits as one that was not. `lib/training/checkpoint.py` lists
the files. Several processes may train together (`lib/runtime/distributed.py`): every decision is
the same in each of them, and only the primary writes files.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from lib.config.model import Model
from lib.config.schema import Run
from lib.data.shuffle import epoch_order
from lib.runtime import device as devices
from lib.runtime import distributed
from lib.training import checkpoint
from lib.training.checkpoint import Progress
from lib.training.dataset import TrainingSet, sample_rows
from lib.training.evaluate import evaluate
from lib.training.events import write_epoch
from lib.training.loaders.image_loader import MicroBatch, micro_batches
from lib.training.losses import mixup_batch, weighted_mean
from lib.training.masks import inputs_and_targets
from lib.training.state import (
    ChunkStats,
    TrainSetup,
    TrainState,
    begin_epoch,
    begin_phase,
    check_finite_loss,
    check_finite_weights,
    create_setup,
    freeze_units,
    read_clock,
    save_if_due,
    save_progress,
    save_weights,
    start_or_resume,
)
from lib.training.weight_averaging import MAX_BN_BATCHES

CHECK_STEPS = 25  # steps between two checks of the loss: each check makes a GPU wait

OnStep = Callable[[TrainState, int], None]


def train_model(
    folder: Path,
    model_cfg: Model,
    training_set: TrainingSet,
    seed: int,
    run: Run,
    on_step: OnStep | None = None,
) -> dict[str, Any]:
    """Train a model into `folder`, from where an earlier call was stopped.

    on_step(state, step): called after each optimizer step; step: 0-based in its epoch. It may read
        and change the state, and stop the training by an exception.

    Returns figures for the manifest in the primary: images, epochs, accuracy of the last and best
    epoch, images_per_second; {} in the other ranks. Raises UserError for a loss or weights that
    are not finite, for weights that cannot be loaded, for a crop that the network does not take,
    and if memory runs out.
    """
    training_set.check()
    group = distributed.current()
    if not group.broadcast(checkpoint.is_finished(folder)):
        with devices.catch_oom(folder, devices.oom_advice(model_cfg)):
            setup = create_setup(folder, model_cfg, training_set, seed, run, group)
            state = start_or_resume(setup)
            with progress_bar(setup, state.progress) as bar:
                while state.progress.epoch < setup.schedule.num_epochs:
                    begin_epoch(setup, state)
                    for rows in remaining_chunks(setup, state):
                        train_chunk(setup, state, rows, bar, on_step)
                        save_if_due(setup, state)
                    metrics = validate(setup, state)
                    end_epoch(setup, state, metrics)
            save_final_weights(setup, state)
    # The primary may be about to rename the folder: the other ranks do not look into it any more.
    return checkpoint.facts(folder, len(training_set.train_rows)) if group.is_primary else {}


def remaining_chunks(setup: TrainSetup, state: TrainState) -> Iterator[np.ndarray]:
    """Rows int64 of each chunk of the current epoch that has not been trained yet."""
    progress, schedule, data = state.progress, setup.schedule, setup.training_set
    rows = sample_rows(
        setup.model_cfg.sampling,
        data.train_rows,
        data.labels,
        data.product,
        setup.seed,
        progress.epoch,
        state.hardness[0],
    )
    batch_size, num_rows = schedule.batch_size(progress.epoch), schedule.num_images(progress.epoch)
    order = epoch_order(rows, data.cluster, batch_size, setup.seed, progress.epoch)
    for chunk in range(progress.chunk, schedule.num_chunks(progress.epoch)):
        first, last = (schedule.first_step(c) * batch_size for c in (chunk, chunk + 1))
        yield order.slice(first, min(last, num_rows))


def train_chunk(
    setup: TrainSetup, state: TrainState, rows: np.ndarray, bar: tqdm, on_step: OnStep | None
) -> None:
    """Train on the rows int64 of one chunk."""
    progress = state.progress
    seeds = np.random.SeedSequence([setup.seed, progress.epoch, progress.chunk])
    torch.manual_seed(int(seeds.generate_state(1)[0]) + setup.group.rank)  # dropout, mixup
    state.stats = ChunkStats.zeros(len(rows), setup.device)
    batches = load_batches(setup, progress.epoch, rows, seeds)
    for step, batch in enumerate(batches, setup.schedule.first_step(progress.chunk)):
        loss = training_step(setup, state, batch, step)
        if step % CHECK_STEPS == 0:
            mean_loss = check_finite_loss(setup, progress, loss, step)
            bar.set_postfix_str(f"loss {mean_loss:.3f}", refresh=False)
        bar.update(setup.schedule.batch_size(progress.epoch))
        if on_step:
            on_step(state, step)
    end_chunk(setup, state, rows)


def load_batches(
    setup: TrainSetup, epoch: int, rows: np.ndarray, seeds: np.random.SeedSequence
) -> Iterator[list[MicroBatch]]:
    """The batches of a chunk, each as the micro-batches whose gradients are accumulated."""
    schedule = setup.schedule
    loaded = micro_batches(
        setup.loader,
        setup.group,
        rows,
        schedule.micro_batch_size(epoch),
        seeds,
        epoch,
        schedule.num_epochs,
    )
    while batch := list(islice(loaded, setup.model_cfg.grad_accum_steps)):
        yield batch


def training_step(
    setup: TrainSetup, state: TrainState, batch: list[MicroBatch], step: int
) -> torch.Tensor:
    """Forward, loss, backward and optimizer step of one batch.

    Returns this rank's loss; its mean over the ranks is the loss of the batch.
    """
    lr, momentum = setup.schedule.lr_and_momentum(state.progress.epoch, step, state.progress.losses)
    state.optimizer.set_lr(lr, momentum)
    total = torch.zeros((), device=setup.device)
    num_rows = sum(micro_batch.num_rows for micro_batch in batch)
    for number, micro_batch in enumerate(batch, 1):
        # The rows of a batch weigh the same: its last micro-batch may be smaller than the others.
        num_parts = num_rows / micro_batch.num_rows
        with setup.group.no_sync(state.forward, skip=number < len(batch)):
            loss = forward_loss(setup, state, micro_batch, num_parts) * micro_batch.weight
            state.optimizer.backward(loss, num_parts)
        total += loss.detach() / num_parts
    state.optimizer.step()
    setup.group.average_bn_stats(state.model)
    if state.average:
        state.average.after_step()
    state.stats.loss += total
    return total


def forward_loss(
    setup: TrainSetup, state: TrainState, micro_batch: MicroBatch, num_parts: float
) -> torch.Tensor:
    """Mean loss of this rank's rows of a micro-batch, one of `num_parts` of a batch."""
    cfg, device, rows = setup.model_cfg, setup.device, micro_batch.rows
    weights = None if setup.weights is None else setup.weights[rows].to(device)
    inputs, targets = inputs_and_targets(micro_batch.inputs, setup.labels[rows], device)
    inputs = state.model.normalise(inputs)
    if cfg.loss.mixup_alpha:
        return mixup_loss(setup, state, inputs, targets, weights)
    logits = predict_logits(setup, state, inputs)
    record_predictions(setup, state, micro_batch, logits.detach(), targets, num_parts)
    return weighted_mean(setup.losses(logits, targets), weights)


def mixup_loss(
    setup: TrainSetup,
    state: TrainState,
    inputs: torch.Tensor,
    targets: torch.Tensor,
    weights: torch.Tensor | None,
) -> torch.Tensor:
    """Mean loss of inputs that are mixed with others of the micro-batch."""
    mixed, partner, share = mixup_batch(inputs, setup.model_cfg.loss.mixup_alpha)
    logits = predict_logits(setup, state, mixed)
    partner_weights = None if weights is None else weights[partner]
    partner_loss = weighted_mean(setup.losses(logits, targets[partner]), partner_weights)
    return (
        share * weighted_mean(setup.losses(logits, targets), weights) + (1 - share) * partner_loss
    )


def predict_logits(setup: TrainSetup, state: TrainState, inputs: torch.Tensor) -> torch.Tensor:
    """float32 [b, classes]."""
    with devices.autocast(setup.model_cfg, setup.device):
        return state.forward(inputs).float()


def record_predictions(
    setup: TrainSetup,
    state: TrainState,
    micro_batch: MicroBatch,
    logits: torch.Tensor,
    targets: Any,
    num_parts: float,
) -> None:
    """Add the accuracy of a micro-batch, of masks their IoU, to the statistics.

    Also keep what hard examples need.
    """
    accuracy = setup.losses.correct(logits, targets).float().mean()
    state.stats.num_correct += accuracy * micro_batch.weight / num_parts
    if setup.model_cfg.sampling.hard_example_weight:
        true_probs = logits.softmax(1).gather(1, targets[:, None])[:, 0]
        state.stats.true_probs[micro_batch.position] = true_probs.cpu().numpy()


def end_chunk(setup: TrainSetup, state: TrainState, rows: np.ndarray) -> None:
    """Add a finished chunk to the figures of the epoch."""
    progress, group, stats = state.progress, setup.group, state.stats
    progress.chunk += 1
    last_step = setup.schedule.first_step(progress.chunk)
    progress.loss += check_finite_loss(setup, progress, stats.loss, last_step)
    progress.num_correct += float(group.all_reduce_mean(np.array([float(stats.num_correct)]))[0])
    if setup.model_cfg.sampling.hard_example_weight:
        index = np.searchsorted(setup.training_set.train_rows, rows)
        state.hardness[1, index] = 1 - group.all_reduce_max(stats.true_probs)
    now = read_clock()
    progress.seconds += float(now[0] - state.clock[0])
    progress.cpu_seconds += float(now[1] - state.clock[1])
    state.clock = now


def validate(setup: TrainSetup, state: TrainState) -> dict[str, Any]:
    """Loss and accuracy of the validation rows; writes `best.pt` if the best epoch predicts."""
    cfg, progress = setup.model_cfg, state.progress
    if state.average and not setup.schedule.is_head_only(progress.epoch):
        state.average.after_epoch(progress.epoch - cfg.head_only_epochs, cfg.epochs)
    check_finite_weights(setup, state)
    with averaged_weights(setup, state):
        metrics = evaluate(
            state.model,
            cfg,
            setup.training_set.loader,
            setup.valid_rows,
            setup.labels,
            setup.losses,
            2 * setup.schedule.micro_batch_size(0),
            setup.group,
        )
        accuracy = metrics["valid_accuracy"]
        is_best = accuracy is not None and accuracy > progress.best_accuracy
        if cfg.checkpoint == "best" and is_best:
            save_weights(setup, state, "best.pt")
    return metrics


def averaged_weights(setup: TrainSetup, state: TrainState) -> AbstractContextManager:
    """Within it the model has its averaged weights, if there are any."""
    if not state.average or not state.average.started:
        return nullcontext()
    schedule, train_rows = setup.schedule, setup.training_set.train_rows
    last_epoch = schedule.num_epochs - 1
    # At the end of the run as after its last epoch: what was evaluated is what is saved.
    epoch = min(state.progress.epoch, last_epoch)
    # Only full batches: batch norms take the mean over batches, in which a small one would count
    # as much as the others.
    size = schedule.micro_batch_size(last_epoch)
    num_batches = max(1, min(MAX_BN_BATCHES, len(train_rows) // size))
    order = epoch_order(train_rows, setup.training_set.cluster, size, setup.seed, epoch)
    rows = order.slice(0, size * num_batches)
    seeds = np.random.SeedSequence([setup.seed, epoch])
    batches = setup.loader.train_batches(rows, size, seeds, last_epoch, schedule.num_epochs)
    loaded = (inputs_and_targets(x, setup.labels[:0], setup.device)[0] for _, x in batches)
    inputs = (state.model.normalise(x) for x in loaded)
    return state.average.swapped_in(inputs, setup.group)


def end_epoch(setup: TrainSetup, state: TrainState, metrics: dict[str, Any]) -> None:
    """Log the epoch, move to the next one, and write `last.pt`."""
    progress, schedule = state.progress, setup.schedule
    head_only = schedule.is_head_only(progress.epoch)
    progress.history.append(epoch_figures(setup, progress, metrics))
    if setup.run.tensorboard and setup.group.is_primary:
        write_epoch(setup.folder, progress.history[-1])
    state.hardness[0] = state.hardness[1]
    progress.begin_next_epoch()
    if schedule.is_head_only(progress.epoch) != head_only:
        state.optimizer = begin_phase(setup, state.model, progress.epoch)
    save_progress(setup, state)


def epoch_figures(setup: TrainSetup, progress: Progress, metrics: dict[str, Any]) -> dict[str, Any]:
    """The epoch's line of `history.jsonl` and `_times.jsonl`."""
    schedule, epoch = setup.schedule, progress.epoch
    num_steps = schedule.num_steps(epoch)
    return {
        "epoch": epoch + 1,
        "phase": "head" if schedule.is_head_only(epoch) else "body",
        "lr": schedule.lr_and_momentum(epoch, num_steps - 1, progress.losses)[0],
        "loss": progress.loss / num_steps,
        # Of the training batches: with dropout, augmented inputs, and weights that still changed.
        "accuracy": None if setup.model_cfg.loss.mixup_alpha else progress.num_correct / num_steps,
        **metrics,
        "images_per_second": round(schedule.num_images(epoch) / progress.seconds, 1),
        "seconds": round(progress.seconds, 2),
        "cpu_seconds": round(progress.cpu_seconds, 2),
    }


def save_final_weights(setup: TrainSetup, state: TrainState) -> None:
    """Write only weights into `last.pt`, which marks the run as finished."""
    freeze_units(setup, state)
    with averaged_weights(setup, state):
        if setup.model_cfg.checkpoint == "best" and len(setup.valid_rows) == 0:
            save_weights(setup, state, "best.pt")
        save_weights(setup, state, "last.pt")


def progress_bar(setup: TrainSetup, progress: Progress) -> tqdm:
    """Images of all epochs, from those that are done; shown by the primary alone."""
    schedule = setup.schedule
    sizes = [schedule.num_images(epoch) for epoch in range(schedule.num_epochs)]
    done = sum(sizes[: progress.epoch])
    if progress.chunk:
        done += schedule.first_step(progress.chunk) * schedule.batch_size(progress.epoch)
    return tqdm(
        total=sum(sizes),
        initial=done,
        unit=" images",
        desc=f"{setup.folder.parent.name}/{setup.folder.name.removesuffix('.partial')}",
        disable=None if setup.group.is_primary else True,
        mininterval=1,
    )
