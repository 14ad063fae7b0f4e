"""What could have been seen: the smallest differences that tests of this size find."""

import math
from statistics import NormalDist


def minimum_detectable_difference(n: int, discordant: float, *, power: float = 0.8, alpha: float = 0.05) -> float:
    """Smallest difference of two accuracies on the same n items that a paired test finds with this power; never 0.

    `discordant`: share of items that exactly one of the two gets right, (b + c) / n. `alpha` is the level after
    correction: 0.05 / m where Holm's correction is over m tests. Normal approximation of McNemar's test (R. J. Connor
    1987); the difference cannot exceed `discordant`, so `inf` is returned where no difference could be shown.
    """
    z_alpha, z_power = NormalDist().inv_cdf(1 - alpha / 2), NormalDist().inv_cdf(power)
    low, high = 0.0, discordant
    if n * discordant**2 <= (z_alpha * math.sqrt(discordant) + z_power * math.sqrt(discordant - discordant**2)) ** 2:
        return math.inf
    for _ in range(100):
        middle = (low + high) / 2
        need = z_alpha * math.sqrt(discordant) + z_power * math.sqrt(max(0.0, discordant - middle**2))
        low, high = (middle, high) if middle * math.sqrt(n) < need else (low, middle)
    return high


def unpaired_detectable_difference(n: int, share: float = 0.5, *, power: float = 0.8, alpha: float = 0.05) -> float:
    """Smallest difference of two accuracies near `share` that two independent samples of n show with this power."""
    z = NormalDist().inv_cdf(1 - alpha / 2) + NormalDist().inv_cdf(power)
    return z * math.sqrt(2 * share * (1 - share) / n)


def detectable_by_t(se: float, df: float, *, power: float = 0.8, alpha: float = 0.05) -> float:
    """Smallest difference that a two-sided t test with this standard error finds with this power; `inf` above 1.

    `alpha` is the level after correction. The sum of the two quantiles of t times `se`, as usual for planning.
    """
    from scipy.stats import t as student

    found = float(student.ppf(1 - alpha / 2, df) + student.ppf(power, df)) * se
    return found if found <= 1 else math.inf
