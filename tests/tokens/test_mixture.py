"""Mixed sources: exact ratios, whole sources, the same batches at any width."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pmc_llama.errors import RecipeError
from pmc_llama.recipe.tokens import MixtureSection, OrderSection
from pmc_llama.tokens.mixture import Mixture, mixture
from pmc_llama.tokens.order import batches, coverage_curve
from pmc_llama.tokens.store import TokenStore

from .test_order import WORLDS, assert_same_batches, real_tokens, source, write_store


@pytest.fixture(scope="module")
def stores(tmp_path_factory: pytest.TempPathFactory) -> dict[str, TokenStore]:
    sizes = {"books": [300] * 10, "papers": [50] * 30, "general": [90, 20, 7]}
    return {name: write_store(tmp_path_factory.mktemp(name), lengths) for name, lengths in sizes.items()}


def mixed(stores: dict[str, TokenStore], ratios: dict[str, float], batch: int = 10, epochs: float = 1) -> Mixture:
    kinds = {"books": "packed", "papers": "sweep", "general": "packed"}
    sources = {name: source(stores[name], kinds[name], global_batch=batch, epochs=epochs) for name in ratios}
    return mixture(sources, ratios, epochs_of=next(iter(ratios)), global_batch=batch)


@settings(max_examples=60, deadline=None)
@given(batch=st.integers(1, 300), first=st.integers(0, 10**6))
def test_ratios_are_exact_over_any_thousand_batches(stores: dict[str, TokenStore], batch: int, first: int) -> None:
    run = mixed(stores, {"books": 15, "papers": 4, "general": 1}, batch)
    run.total_rows = 10**10
    a, b = run.counts(first), run.counts(first + 1000)
    assert {name: b[name] - a[name] for name in a} == {
        "books": 750 * batch,
        "papers": 200 * batch,
        "general": 50 * batch,
    }
    one = run.counts(first + 1)
    for name, share in run.shares.items():
        assert abs(one[name] - a[name] - share * batch) < 2


def test_one_percent_of_replay(stores: dict[str, TokenStore]) -> None:
    run = mixed(stores, {"papers": 0.99, "general": 0.01}, batch=16)
    run.total_rows = 10**10
    assert [run.counts(s + 1000)["general"] - run.counts(s)["general"] for s in range(0, 900, 7)] == [160] * 129


def test_the_counted_source_is_gone_through_exactly_and_the_others_repeat(stores: dict[str, TokenStore]) -> None:
    run = mixed(stores, {"books": 15, "papers": 4, "general": 5}, batch=7)
    shown = [real_tokens(run.rows(step)) for step in range(run.steps)]
    books = source(stores["books"], "packed", global_batch=1, epochs=1)
    counts = run.counts(run.steps)
    assert books.total_rows <= counts["books"] <= books.total_rows + 1
    assert sum(len(run.rows(step).ids) for step in range(run.steps)) == sum(counts.values()) == run.total_rows
    assert run.epochs_by_source(run.steps)["general"] > 5
    assert run.coverage_by_source(run.steps)["books"] == 1.0
    assert 0 < run.coverage_by_source(run.steps)["papers"] < 1
    assert shown and run.coverage(0) == 0


def test_coverage_is_that_of_all_sources_together(stores: dict[str, TokenStore]) -> None:
    run = mixed(stores, {"books": 3, "general": 1}, batch=8, epochs=2)
    totals = {name: source(stores[name], "packed").total_tokens for name in ("books", "general")}
    for step in (0, 3, run.steps):
        parts = run.coverage_by_source(step)
        expected = sum(parts[name] * totals[name] for name in totals) / sum(totals.values())
        assert run.coverage(step) == pytest.approx(expected, abs=1e-12)
    curves = run.coverage_curves(run.steps)
    assert list(curves) == ["books", "general", "all"] and curves["all"] == coverage_curve(run, run.steps)
    assert curves["books"][7] == (curves["all"][7][0], run.coverage_by_source(curves["all"][7][0])["books"])
    curve = coverage_curve(run, run.steps, points=5)
    assert curve[0] == (0, 0.0) and curve[-1] == (run.steps, 1.0)
    assert [share for _, share in curve] == sorted(share for _, share in curve)


@settings(max_examples=40, deadline=None)
@given(
    batch=st.integers(1, 13),
    epochs=st.floats(0.1, 2),
    stop=st.floats(0, 1),
    worlds=st.tuples(WORLDS, WORLDS),
    workers=st.integers(1, 4),
)
def test_batches_do_not_depend_on_processes_workers_or_restarts(
    stores: dict[str, TokenStore], batch: int, epochs: float, stop: float, worlds: tuple[int, int], workers: int
) -> None:
    def make() -> Mixture:
        return mixed(stores, {"books": 15, "papers": 4, "general": 1}, batch, epochs)

    assert_same_batches(make, round(stop * make().steps), worlds, workers)
    with pytest.raises(IndexError):
        make().rows(make().steps)


def test_what_does_not_fit_is_refused(stores: dict[str, TokenStore], tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="the sources are books"):
        mixture({"books": source(stores["books"], "packed")}, {"papers": 1}, epochs_of="papers", global_batch=4)
    sources = {"books": source(stores["books"], "packed"), "general": source(stores["general"], "packed", seq_len=32)}
    with pytest.raises(RecipeError, match="same length"):
        mixture(sources, {"books": 1, "general": 1}, epochs_of="books", global_batch=4)
    with pytest.raises(ValueError, match="'pappers' has no ratio"):
        MixtureSection(ratios={"papers": 1, "general": 1}, epochs_of="pappers")
    with pytest.raises(ValueError, match="above 0"):
        MixtureSection(ratios={"papers": 1, "general": 0}, epochs_of="papers")


def test_ratio_and_source_change_the_fingerprint(stores: dict[str, TokenStore]) -> None:
    variants = [{"books": 15, "papers": 4}, {"books": 15, "papers": 5}, {"books": 15, "general": 4}]
    assert len({mixed(stores, ratios).fingerprint for ratios in variants}) == 3


def test_an_order_section_reaches_its_source(stores: dict[str, TokenStore]) -> None:
    run = batches(
        stores["papers"],
        OrderSection(kind="windows"),
        split="train",
        seq_len=16,
        global_batch=4,
        epochs=1,
        seed=0,
        bos_id=1,
        eos_id=2,
    )
    assert run.rows_per_epoch == 30
