"""Attention on tasks whose answer is known: copy, look back by one, look ahead by one.

The network reads twelve random letters and twelve questions; question i knows only its place i, so it can only
answer by attending to a letter. The right mask is causal: question i may look at the letters up to i. Then copying
the letter at i and the one before it can be learned; the one after it cannot, and a network that learns it is cheating.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import mlx.core as mx
import mlx.nn as nn
import mlx.optimizers as optim
import numpy as np
from matplotlib.figure import Figure

from betafold_mlx.lab.drawing import BESIDE, COLOURS, SEQUENTIAL, panel_figure
from betafold_mlx.lab.runner import Finding, Lab, LabReport, Picture
from betafold_mlx.lab.statistics import found, mean_interval
from betafold_mlx.model.transformer import Transformer
from betafold_mlx.peptide.sequence import ALPHABET

LENGTH, WIDTH, BATCH, RATE = 12, 64, 64, 1e-3
TASKS = {"copy": 0, "look back": -1, "look ahead": 1}
"""Where the letter to name stands, seen from the question."""
MASKS = {"causal": 0, "none": LENGTH, "shifted": -1}
"""How far ahead of its own place a question may look. ``shifted``: the causal mask moved by one, so that a question
does not see its own place."""
GUESSING = math.log(len(ALPHABET))  # loss of naming all letters with the same probability, nats
SOLVED, UNSOLVED = 0.1, 0.5 * GUESSING
"""Losses below and above which a task counts as learned and as not learned, nats."""
MIN_STEPS = 150  # what these tiny networks need
Key = tuple[str, str]  # a task and a mask


class ToyModel(nn.Module):
    """One block of the folding network, with one head, on letters and questions."""

    def __init__(self) -> None:
        super().__init__()
        self.letters = nn.Embedding(len(ALPHABET) + 1, WIDTH)  # the last one is the question mark
        self.places = nn.Embedding(LENGTH, WIDTH)
        self.transformer = Transformer(WIDTH, 1, 1, 2 * WIDTH, 0.0)
        self.name = nn.Linear(WIDTH, len(ALPHABET))

    def __call__(self, letters: mx.array, reach: int) -> tuple[mx.array, mx.array]:
        """Answer questions about (B, LENGTH) letters that may look as far ahead as `MASKS` says.

        Returns logits (B, LENGTH, 20), and how questions (rows) listen to letters (columns), (B, LENGTH, LENGTH).
        """
        questions = mx.full(letters.shape, len(ALPHABET))
        places = mx.concatenate([mx.arange(LENGTH)] * 2)
        states = self.letters(mx.concatenate([letters, questions], axis=1)) + self.places(places)
        letters_alone = mx.arange(2 * LENGTH) < LENGTH  # nobody listens to questions
        mask = mx.broadcast_to(letters_alone, states.shape[:2])
        states, attention = self.transformer(states, mask, _bias(reach), return_attention=True)
        return self.name(states[:, LENGTH:]), attention[0][:, 0, LENGTH:, :LENGTH]


def _bias(reach: int) -> mx.array:
    """Return what keeps a question from letters more than `reach` ahead of it, (1, 1, 2 LENGTH, 2 LENGTH)."""
    place = np.arange(2 * LENGTH)
    question = place >= LENGTH
    ahead = place[None, :] - (place - LENGTH)[:, None] > reach
    hidden = question[:, None] & ~question[None, :] & ahead
    return mx.array(np.where(hidden, -1e9, 0.0).astype(np.float32))[None, None]


class ToyRun(NamedTuple):
    """What became of one network: the loss of each step, its loss on new letters, and its mean attention map."""

    losses: list[float]
    final: float
    attention: np.ndarray


def train_toy(task: str, mask: str, steps: int, seed: int) -> ToyRun:
    """Train one network."""
    offset, reach = TASKS[task], MASKS[mask]
    mx.random.seed(seed)
    model = ToyModel()
    optimizer = optim.Adam(RATE)
    rng = np.random.default_rng([seed, 1])
    # Questions that have a letter to name, and under a shifted mask one to look at.
    asked = mx.array([0 <= i + offset < LENGTH and i + reach >= 0 for i in range(LENGTH)])

    def loss_of(letters: mx.array) -> mx.array:
        logits, _ = model(letters, reach)
        answers = mx.roll(letters, -offset, 1)
        return (nn.losses.cross_entropy(logits, answers) * asked).sum() / (asked.sum() * len(letters))

    def draw(count: int) -> mx.array:
        return mx.array(rng.integers(0, len(ALPHABET), (count, LENGTH)).astype(np.int32))

    step_function = nn.value_and_grad(model, loss_of)
    losses = []
    for _ in range(steps):
        loss, gradient = step_function(draw(BATCH))
        optimizer.update(model, gradient)
        mx.eval(model.parameters(), optimizer.state, loss)
        losses.append(loss.item())
    fresh = draw(4 * BATCH)
    _, attention = model(fresh, reach)
    return ToyRun(losses, float(np.array(loss_of(fresh))), np.array(attention.mean(axis=0)))


def run_toy(lab: Lab) -> LabReport:
    """Train every task with every mask, and draw what the head looks at."""
    steps = max(MIN_STEPS, lab.budget.steps)
    trained: dict[Key, list[ToyRun]] = {}
    for task in TASKS:
        for mask in MASKS:
            lab.say(f"{task}, mask {mask}")
            trained[task, mask] = [train_toy(task, mask, steps, seed) for seed in lab.seeds]
    rows = [
        {
            "task": task,
            "mask": mask,
            "seed": seed,
            "first loss (nats)": one.losses[0],
            "final loss (nats)": one.final,
            "attention on the letter to name": on_target(one.attention, TASKS[task]),
        }
        for (task, mask), runs in trained.items()
        for seed, one in zip(lab.seeds, runs, strict=True)
    ]
    return LabReport(
        findings=[_verdict(task, mask, runs) for (task, mask), runs in trained.items()],
        tables={"losses": rows},
        pictures={
            "losses": Picture(
                draw_losses(trained),
                "Loss on the way, every seed. The dotted line is guessing, ln 20. Looking ahead under a causal mask "
                "must stay there; where it falls, the mask leaks.",
            ),
            "attention": Picture(
                draw_attention({key: runs[0].attention for key, runs in trained.items()}),
                "Where question i (row) looks among the letters (columns), mean over new letters, first seed. White "
                "rings mark the letter to name.",
            ),
        },
        notes=[
            f"One block, one head, {WIDTH} wide, {steps} steps of {BATCH} sequences. Losses are those on new letters, "
            f"in nats; guessing costs {GUESSING:.2f}. A task counts as learned below {SOLVED}, as not learned above "
            f"{UNSOLVED:.2f}."
        ],
    )


def on_target(attention: np.ndarray, offset: int) -> float:
    """Return the mean weight that questions give the letter they are to name; those without one do not count."""
    places = [i for i in range(1, LENGTH) if 0 <= i + offset < LENGTH]
    return float(np.mean([attention[i, i + offset] for i in places]))


def allowed(task: str, mask: str) -> bool:
    """Return whether the mask lets questions see the letter they are to name."""
    return TASKS[task] <= MASKS[mask]


def _verdict(task: str, mask: str, runs: list[ToyRun]) -> Finding:
    finals = [one.final for one in runs]
    interval = mean_interval(finals)
    if max(finals) < SOLVED:
        weight = np.mean([on_target(one.attention, TASKS[task]) for one in runs])
        judged = f"learned, with {weight:.0%} of the attention on the letter to name"
        if not allowed(task, "causal"):
            judged += "; the right mask forbids it, so this is a leak"
    elif min(finals) > UNSOLVED:
        judged = "not learned" + ("" if allowed(task, mask) else ", as the mask hides the letter")
    else:
        judged = "partly learned"
    verdict = f"{task}, mask {mask}: loss {interval.mean:.3f} of {GUESSING:.2f} nats for guessing: {judged}."
    return found(f"loss of {task}, mask {mask}", "nats", interval, verdict)


def draw_losses(trained: dict[Key, list[ToyRun]]) -> Figure:
    """Draw a panel a task, a colour a mask."""
    figure, axes = panel_figure(len(TASKS), len(TASKS), 2.7, 2.4, sharey=True)
    for axis, task in zip(axes, TASKS, strict=True):
        for colour, mask in zip(COLOURS, MASKS, strict=False):
            for number, one in enumerate(trained[task, mask]):
                label = f"mask {mask}" if number == 0 else None
                axis.plot(one.losses, color=colour, lw=1, alpha=0.8, label=label)
        axis.axhline(GUESSING, color="0.4", ls=":", lw=1)
        axis.set(title=task, xlabel="training step")
    axes[0].set_ylabel("loss (nats)")
    axes[0].set_ylim(bottom=0)
    axes[-1].legend(**BESIDE)
    return figure


def draw_attention(maps: dict[Key, np.ndarray]) -> Figure:
    """Draw the attention maps, tasks below each other, masks side by side."""
    figure, axes = panel_figure(len(maps), len(MASKS), 2.3, 2.2, sharex=True, sharey=True)
    for axis, ((task, mask), weights) in zip(axes, maps.items(), strict=True):
        image = axis.imshow(weights, cmap=SEQUENTIAL, vmin=0, vmax=1, origin="upper")
        wanted = np.array([i for i in range(LENGTH) if 0 <= i + TASKS[task] < LENGTH])
        axis.plot(wanted + TASKS[task], wanted, "o", mfc="none", mec="white", ms=6, mew=0.7)
        axis.set_title(f"{task}, mask {mask}")
        ticks = range(0, LENGTH, 2)
        axis.set_xticks(ticks, [str(i + 1) for i in ticks])
        axis.set_yticks(ticks, [str(i + 1) for i in ticks])
    for axis in axes[:: len(MASKS)]:
        axis.set_ylabel("question at place")
    for axis in axes[-len(MASKS) :]:
        axis.set_xlabel("letter at place")
    figure.colorbar(image, ax=axes, label="attention weight", shrink=0.6)
    return figure
