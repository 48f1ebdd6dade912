"""Truncated Newton for squared-hinge SVMs: all classes together, each with its own examples.

Every class reads the same rows, so the two products of a conjugate-gradient step are two products
of the whole matrix with as many columns as there are classes. The gradient yields a feasible dual
point for nothing, hence a true bound on the distance to the optimum, at which the solver stops.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from detection.kernels import tall_matmul

MAX_ITERATIONS = 60
MAX_CG_ITERATIONS = 40
RESOLUTION = 1e-7
"""Smaller relative steps of the objective are the rounding of float32."""
FORCING = 0.1
"""Each Newton system is solved until its residual is this fraction of the gradient: which examples
lie inside the margin changes with the step, so that a more exact solution would be wasted."""


@dataclass(frozen=True, eq=False, slots=True)
class _Problem:
    """What stays the same: rows, signs (+1, -1, 0), costs (0 where ignored), the constant."""

    blocks: Sequence[Tensor]
    signs: Float[Tensor, "n k"]
    costs: Float[Tensor, "n k"]
    constant: float

    def margins(self, point: Float[Tensor, "k e"]) -> Float[Tensor, "n k"]:
        """Return the scores of all rows; the last column of ``point`` multiplies the constant."""
        scores = tall_matmul.times(self.blocks, point[:, :-1].contiguous())
        return scores.add_(point[:, -1] * self.constant)

    def pull(self, factors: Float[Tensor, "n k"]) -> Float[Tensor, "k e"]:
        """Return the factor-weighted sums of the rows and of the constant."""
        sums = tall_matmul.transposed_times(self.blocks, factors)
        return torch.cat((sums, self.constant * factors.sum(dim=0)[:, None]), dim=1)

    def of(self, classes: Tensor) -> _Problem:
        """Return the problem restricted to some of the classes."""
        return _Problem(
            self.blocks,
            self.signs[:, classes].contiguous(),
            self.costs[:, classes].contiguous(),
            self.constant,
        )


def minimise(
    blocks: Sequence[Tensor],
    signs: Float[Tensor, "n k"],
    costs: Float[Tensor, "n k"],
    constant: float,
    start: tuple[Float[Tensor, "k d"], Float[Tensor, " k"]],
    tolerance: float,
) -> tuple[Float[Tensor, "k d"], Float[Tensor, " k"]]:
    """Find ``w, c`` that minimise ``0.5 |w|^2 + 0.5 c^2 + sum(cost * max(0, 1 - sign * z)^2)``.

    ``z = x @ w + constant * c``.

    Args:
        blocks: the rows ``x``.
        signs: +1, -1, or 0 where a row is not an example of the class.
        costs: 0 where a row is not an example of the class.
        constant: the value of the constant feature.
        start: a first guess of ``w`` and ``c``.
        tolerance: stop where primal minus dual objective is at most this fraction of the primal, or
            where float32 cannot lower it any more.

    Returns:
        ``w`` and ``c``.
    """
    point = torch.cat((start[0], start[1][:, None]), dim=1)
    whole = _Problem(blocks, signs, costs, constant)
    active = torch.arange(len(point), device=point.device)
    scores = whole.margins(point)
    previous = torch.full((len(point),), torch.inf, dtype=torch.float64, device=point.device)
    problem = whole
    for _ in range(MAX_ITERATIONS):
        gradient, primal, gap = _gradient_and_gap(problem, point[active], scores[:, active])
        goes_on = (gap > tolerance) & (primal < previous[active] * (1 - RESOLUTION))
        previous[active] = primal
        if not goes_on.all():
            # Classes converge after different numbers of steps; without those that have, the
            # products with the whole matrix have fewer columns.
            active, gradient = active[goes_on], gradient[goes_on]
            problem = whole.of(active)
        if not len(active):
            break
        z = scores[:, active]
        step, moved = _newton_step(problem, gradient, z)
        length = _line_search(problem, point[active], step, z, moved)
        point[active] = point[active] + length[:, None] * step
        # Scores are linear in the point: they follow the step without another product with the
        # matrix.
        scores[:, active] = z + length * moved
    return point[:, :-1].contiguous(), point[:, -1].contiguous()


def _gradient_and_gap(
    problem: _Problem, point: Float[Tensor, "k e"], scores: Float[Tensor, "n k"]
) -> tuple[Float[Tensor, "k e"], Float[Tensor, " k"], Float[Tensor, " k"]]:
    """Return the gradient, the objective and the relative duality gap.

    The dual point is ``alpha = 2 * cost * slack``; its objective is ``sum(alpha) - sum(alpha^2 / (4
    cost)) - 0.5 |sum(alpha * sign * x)|^2``.
    """
    slack = (1 - problem.signs * scores).clamp_(min=0)
    weighted = problem.costs * slack
    dual_point = problem.pull(2 * weighted * problem.signs)
    # In float64: the gap is a small difference of two large sums.
    loss = (weighted * slack).sum(dim=0, dtype=torch.float64)
    primal = 0.5 * point.double().square().sum(dim=1) + loss
    linear = 2 * weighted.sum(dim=0, dtype=torch.float64)
    dual = linear - loss - 0.5 * dual_point.double().square().sum(dim=1)
    return point - dual_point, primal, (primal - dual) / primal


def _newton_step(
    problem: _Problem, gradient: Float[Tensor, "k e"], scores: Float[Tensor, "n k"]
) -> tuple[Float[Tensor, "k e"], Float[Tensor, "n k"]]:
    """Solve ``H step = -gradient`` by conjugate gradients; return the step and its scores."""
    curvature = 2 * problem.costs * (problem.signs * scores < 1)
    step, moved = torch.zeros_like(gradient), torch.zeros_like(scores)
    residual = -gradient
    direction = residual.clone()
    square = residual.square().sum(dim=1)
    goal = FORCING**2 * square
    for _ in range(MAX_CG_ITERATIONS):
        along = problem.margins(direction)
        image = direction + problem.pull(curvature * along)
        # A class that is solved stays where it is while the others go on.
        length = torch.where(square > goal, square / (direction * image).sum(dim=1), 0.0)
        step += length[:, None] * direction
        moved += length * along
        residual -= length[:, None] * image
        previous, square = square, residual.square().sum(dim=1)
        if not (square > goal).any():
            break
        direction = residual + (square / previous)[:, None] * direction
    return step, moved


def _line_search(
    problem: _Problem,
    point: Float[Tensor, "k e"],
    step: Float[Tensor, "k e"],
    scores: Float[Tensor, "n k"],
    moved: Float[Tensor, "n k"],
) -> Float[Tensor, " k"]:
    """Minimise along each step exactly: the slope is piecewise linear and increasing."""
    linear, square = (point * step).sum(dim=1), step.square().sum(dim=1)
    length = torch.ones_like(linear)
    low, high = torch.zeros_like(length), torch.full_like(length, torch.inf)
    for _ in range(20):
        slack = (1 - problem.signs * (scores + length * moved)).clamp_(min=0)
        pull = problem.costs * problem.signs * moved
        slope = linear + length * square - 2 * (pull * slack).sum(dim=0)
        bend = square + 2 * (problem.costs * moved.square() * (slack > 0)).sum(dim=0)
        low = torch.where(slope < 0, length, low)
        high = torch.where(slope > 0, length, high)
        # Newton on the slope, kept inside the bracket by bisection; until something bounds the step
        # from above it may grow, at most to 4.
        following = length - slope / bend.clamp(min=torch.finfo(bend.dtype).tiny)
        inside = (following > low) & (following < high)
        following = torch.where(inside, following, (low + high.clamp(max=4)) / 2)
        if _close(following, length):
            break
        length = following
    return length


def _close(a: Float[Tensor, " k"], b: Float[Tensor, " k"]) -> bool:
    close: Bool[Tensor, " k"] = (a - b).abs() <= 1e-3 * b.abs()
    return bool(close.all())
