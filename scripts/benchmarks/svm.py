"""20 SVMs on 30,000 x 4,096 features with hard negatives, against 20 liblinear fits.

``max_difference`` is the largest relative excess of our objective over liblinear's.
"""

from __future__ import annotations

import torch
from comparison import Candidate, compare, parse, report

from detection.config import SvmConfig
from detection.heads.svm import Svms, fit_linear_svms, svm_objective

NEWTON, LIBLINEAR = SvmConfig(), SvmConfig(solver="sklearn")


def make_problem(rows: int, feature_dim: int, classes: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return fc7-like features, a quarter of them non-zero, and each row's target per class.

    One row in ten is a positive of one class; of the others each class has half as hard negatives.
    """
    random = torch.Generator().manual_seed(0)
    prototypes = torch.randn(classes + 1, feature_dim, generator=random)
    owner = torch.randint(0, 10 * classes, (rows,), generator=random).clamp(max=classes)
    x = torch.randn(rows, feature_dim, generator=random)
    x.add_(prototypes[owner], alpha=0.35).sub_(0.72).relu_()
    x *= 20 / x.norm(dim=1).mean()
    own = owner[:, None] == torch.arange(classes)
    hard = (owner[:, None] == classes) & (torch.rand(rows, classes, generator=random) < 0.5)
    return x, own.to(torch.int8) - hard.to(torch.int8)


def main() -> None:
    """Measure and print."""
    sizes = {"rows": 30_000, "feature_dim": 4096, "classes": 20, "repeats": 3}
    options = parse(__doc__.split("\n", maxsplit=1)[0], **sizes)
    x, targets = make_problem(options.rows, options.feature_dim, options.classes)

    def excess(ours: Svms, theirs: Svms) -> float:
        a, b = (svm_objective(svms, x, targets, NEWTON) for svms in (ours, theirs))
        return float((a / b - 1).max())

    results = compare(
        "SVMs",
        Candidate(
            name=f"{options.classes} x LinearSVC (liblinear)",
            run=lambda: fit_linear_svms(x, targets, LIBLINEAR),
        ),
        [
            Candidate(
                name="newton, all classes together",
                run=lambda: fit_linear_svms(x, targets, NEWTON),
                reach=6.0,
            )
        ],
        excess,
        options.repeats,
    )
    report(results, options, f"{options.rows} x {options.feature_dim}, {options.classes} classes")


if __name__ == "__main__":
    main()
