"""The SVM's objective and hard-negative mining, one number at a time."""

import numpy as np
from sklearn.svm import LinearSVC


def objective(weight, bias, x, signs, *, c, positive_weight, multiplier, squared):
    """0.5 |w|^2 + 0.5 (b / B)^2 + C * (2 * the positives' loss + the negatives' loss)."""
    total = 0.5 * sum(float(v) ** 2 for v in weight) + 0.5 * (float(bias) / multiplier) ** 2
    for row, sign in zip(x, signs, strict=True):
        if sign == 0:
            continue
        score = sum(float(a) * float(b) for a, b in zip(row, weight, strict=True)) + float(bias)
        hinge = max(0.0, 1.0 - float(sign) * score)
        loss = hinge**2 if squared else hinge
        total += c * (positive_weight if sign > 0 else 1.0) * loss
    return total


def fit(positives, negatives, config):
    svm = LinearSVC(
        C=config.c,
        loss="squared_hinge",
        dual=False,
        intercept_scaling=config.bias_multiplier,
        class_weight={1: config.positive_weight, -1: 1.0},
        tol=1e-8,
        max_iter=10_000,
    )
    x = np.concatenate((positives, negatives))
    svm.fit(x, [1] * len(positives) + [-1] * len(negatives))
    return svm.coef_[0], svm.intercept_[0]


def mine(positives, labels, images, num_classes, config):
    """The released spp_train.m, all classes retrained when one of them has enough negatives.

    ``images`` are pairs of features and the largest IoU with the objects of each class. Gives the
    weights, the biases and the number of negatives that each retraining saw.
    """
    caches = [[] for _ in range(num_classes)]
    new = [0] * num_classes
    models, seen = None, []
    for i, (values, max_iou) in enumerate(images):
        for k in range(num_classes):
            for row, overlap in zip(values, max_iou[:, k], strict=True):
                hard = models is None or row @ models[k][0] + models[k][1] > config.hard_score
                if overlap < config.negative_iou and hard:
                    caches[k].append(row)
                    new[k] += 1
        last = i == len(images) - 1
        if models is None or max(new) > config.retrain_after or (last and max(new) > 0):
            models = [
                fit(positives[labels == k], np.array(caches[k]), config) for k in range(num_classes)
            ]
            seen.append([len(cache) for cache in caches])
            new = [0] * num_classes
            for k, (weight, bias) in enumerate(models):
                caches[k] = [r for r in caches[k] if r @ weight + bias >= config.easy_score]
    return np.array([m[0] for m in models]), np.array([m[1] for m in models]), seen
