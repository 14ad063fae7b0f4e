"""The published table once more, typed from the authors' README, with intervals and p from first principles."""

import math
from typing import Any

from report.recompute import Z, wilson

NAMES = ("medqa/out_of_domain", "medqa/in_domain", "medmcqa", "pubmedqa")
SIZES = {"medqa/out_of_domain": 1273, "medqa/in_domain": 1273, "medmcqa": 4183}
PERCENT = {
    ("full", "LLaMA-7B"): ("PMC-LLaMA-7B", (44.55, 35.66, 48.15, 73.41), (44.70, 40.61, 50.54, 69.53)),
    ("PEFT", "LLaMA-7B"): ("PMC-LLaMA-7B", (29.38, 27.34, 32.37, 65.81), (30.64, 28.52, 34.33, 68.23)),
    ("full", "LLaMA-13B"): ("MedLLaMA-13B", (45.48, 39.36, 51.42, 76.4), (48.15, 43.52, 54.15, 77.1)),
    ("PEFT", "LLaMA-13B"): ("MedLLaMA-13B", (38.73, 38.73, 39.56, 65.4), (39.12, 39.98, 41.26, 69.4)),
}
ALONE = {  # of people and untuned models: MedQA, MedMCQA, PubMedQA
    ("people", "pass mark"): (50, None, 60),
    ("people", "experts"): (87, 90, 78),
    ("zero-shot", "InstructGPT-175B"): (46, 44, 73.2),
    ("zero-shot", "ChatGPT"): (57, 44.7, 63.9),
}


def published() -> dict[tuple[str, ...], dict[str, Any]]:
    """Rows by method, the pair's base model and the row's own; each number with the text that stands beneath it."""
    rows: dict[tuple[str, ...], dict[str, Any]] = {}
    for (method, base), (adapted, base_percent, adapted_percent) in PERCENT.items():
        for model, values in ((base, base_percent), (adapted, adapted_percent)):
            rows[method, base, model] = {
                name: {"is": "published_accuracy", "published_accuracy": value / 100, **_beneath(name, value)}
                for name, value in zip(NAMES, values, strict=True)
            }
        rows[method, base, "difference"] = {
            name: {"is": "delta", "delta": (y - x) / 100, "delta_detail": _test(name, x, y)}
            for name, x, y in zip(NAMES, base_percent, adapted_percent, strict=True)
        }
    for (method, model), values in ALONE.items():
        rows[method, model, model] = {
            name: {"is": "published_accuracy", "published_accuracy": value / 100}
            for name, value in zip((NAMES[0], *NAMES[2:]), values, strict=True)
            if value is not None
        }
    return rows


def _beneath(name: str, value: float) -> dict[str, str]:
    if name not in SIZES:
        return {"published_accuracy_detail": "n not stated"}
    n = SIZES[name]
    k = round(value / 100 * n)
    low, high = wilson(k, n)
    counts = f"≈ {k:,} / {n:,}".replace(",", "\u202f")
    return {"published_accuracy_detail": f"{100 * low:.1f} to {100 * high:.1f}\n{counts}"}


def _test(name: str, x: float, y: float) -> str:
    if name not in SIZES:
        tried = [_p(*_z(n, round(x / 100 * n), round(y / 100 * n))) for n in (1000, 500)]
        return f"p {tried[0]} and {tried[1]}"
    n = SIZES[name]
    k_x, k_y = round(x / 100 * n), round(y / 100 * n)
    difference, error = _z(n, k_x, k_y)
    low, high = ((y - x) / 100 - Z * error, (y - x) / 100 + Z * error)
    p = _p(difference, error)
    text = f"{100 * low:+.1f} to {100 * high:+.1f}\np {p if p[0] == '<' else f'= {p}'}, {k_y - k_x:+,} right"
    return text.replace("-", "−")


def _z(n: int, k_x: int, k_y: int) -> tuple[float, float]:
    """Difference of two shares and its standard error for independent samples."""
    return (k_y - k_x) / n, math.sqrt(sum(k / n * (1 - k / n) / (n - 1) for k in (k_x, k_y)))


def _p(difference: float, error: float) -> str:
    p = math.erfc(abs(difference) / error / math.sqrt(2))
    return "< 0.001" if p < 0.001 else f"{p:.3f}" if p < 0.1 else f"{p:.2f}"
