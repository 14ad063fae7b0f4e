"""The three orders: what they show, that batches are a pure function of the step, and that coverage is exact."""

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pmc_llama.errors import StoreError
from pmc_llama.recipe.tokens import OrderSection
from pmc_llama.tokens.bestfit import best_fit
from pmc_llama.tokens.order import StoreBatches, batches
from pmc_llama.tokens.permutation import Permutation
from pmc_llama.tokens.shards import finish_store, shard_paths, write_shard_index
from pmc_llama.tokens.store import TokenStore
from pmc_llama.train.batches import IGNORE, Rows

BOS, EOS = 1, 2
FAKE = SimpleNamespace(sha256="tokenizer", vocab_size=100_000, dtype=np.dtype("<u4"))
KINDS = ["packed", "best_fit", "sweep", "windows"]
WORLDS = st.sampled_from([1, 2, 3, 4, 6, 12])
LENGTHS = [5, 0, 31, 1, 16, 17, 90, 15, 200, 3, 64, 33]


def write_store(folder: Path, lengths: list[int], heldout: float = 0.0) -> TokenStore:
    """A store in which every token has an id of its own: the first document's are 10, 11, …"""
    ids = iter(range(10, 10 + sum(lengths)))
    shards = []
    for number, part in enumerate([lengths[: len(lengths) // 2], lengths[len(lengths) // 2 :]]):
        folder.mkdir(parents=True, exist_ok=True)
        np.array([next(ids) for _ in range(sum(part))], FAKE.dtype).tofile(shard_paths(folder, number)[0])
        names = [f"s2:{number}-{i}" for i in range(len(part))]
        shards.append(write_shard_index(folder, number, names, part, {"bin_sha256": ""}))
    finish_store(folder, shards, FAKE, ["corpus"], heldout)  # type: ignore[arg-type]
    return TokenStore.open(folder)


def source(store: TokenStore, kind: str, **settings: object) -> StoreBatches:
    """`kind`: an order; "best_fit" is `packed` with that packing."""
    order = OrderSection(packing="best_fit") if kind == "best_fit" else OrderSection(kind=kind)  # type: ignore[arg-type]
    given = {"split": "train", "seq_len": 16, "global_batch": 4, "epochs": 2.0, "seed": 0, "bos_id": BOS, "eos_id": EOS}
    return batches(store, order, **(given | settings))  # type: ignore[arg-type]


def pieces(rows: Rows) -> list[tuple[list[int], bool]]:
    """The pieces of documents in rows: their ids, and whether any of them has a label."""
    found = []
    for ids, positions, labels in zip(rows.ids, rows.position_ids, rows.labels, strict=True):
        starts = [*np.flatnonzero(positions == 0), len(ids)]
        for start, end in pairwise(starts):
            assert positions[start:end].tolist() == list(range(end - start))
            assert labels[start] == IGNORE
            labelled = labels[start + 1 : end] != IGNORE
            assert labelled.all() or not labelled.any()
            assert not labelled.any() or np.array_equal(labels[start + 1 : end], ids[start + 1 : end])
            found.append((ids[start:end].tolist(), bool(labelled.any())))
    return found


def real_tokens(rows: Rows) -> list[int]:
    return [int(number) for number in rows.ids.ravel() if number >= 10]


def epoch_rows(batches: StoreBatches) -> list[Rows]:
    return [batches.rows(step) for step in range(batches.steps)]


lengths_strategy = st.lists(st.integers(0, 70), min_size=2, max_size=12).filter(any)


@settings(max_examples=60, deadline=None)
@given(lengths=lengths_strategy, seq_len=st.integers(8, 40), batch=st.integers(1, 5), seed=st.integers(0, 9))
@pytest.mark.parametrize("kind", ["packed", "best_fit"])
def test_packed_shows_every_token_exactly_once_an_epoch(
    tmp_path_factory: pytest.TempPathFactory, kind: str, lengths: list[int], seq_len: int, batch: int, seed: int
) -> None:
    store = write_store(tmp_path_factory.mktemp("store"), lengths)
    shape = {"seq_len": seq_len, "global_batch": batch, "seed": seed}
    run = source(store, kind, epochs=1, **shape)
    all_rows = epoch_rows(run)
    assert sorted(token for rows in all_rows for token in real_tokens(rows)) == list(range(10, 10 + sum(lengths)))
    documents = sum(1 for length in lengths if length)
    all_ids = np.concatenate([rows.ids.ravel() for rows in all_rows])
    assert (all_ids == BOS).sum() == documents
    padding = run.rows_per_epoch * seq_len - run.total_tokens
    assert (all_ids == EOS).sum() == documents + padding
    assert kind == "best_fit" or padding < seq_len


@settings(max_examples=40, deadline=None)
@given(lengths=lengths_strategy, seed=st.integers(0, 9), kind=st.sampled_from(KINDS), batch=st.integers(1, 7))
def test_coverage_is_exact_at_every_step_in_any_order_of_asking(
    tmp_path_factory: pytest.TempPathFactory, lengths: list[int], seed: int, kind: str, batch: int
) -> None:
    store = write_store(tmp_path_factory.mktemp("store"), lengths)
    run = source(store, kind, epochs=4, seed=seed, global_batch=batch)
    packed = kind in ("packed", "best_fit")
    marks = 2 * sum(1 for length in lengths if length) if packed else 0
    seen: set[int] = set()
    expected, first_epoch_marks = [0.0], 0
    for step in range(run.steps):
        rows = run.rows(step)
        seen.update(real_tokens(rows))
        if packed:
            first_epoch_marks += _marks(run, step, batch)
        expected.append((len(seen) + first_epoch_marks) / (sum(lengths) + marks))
    asked = source(store, kind, epochs=4, seed=seed, global_batch=batch)
    assert [asked.coverage(step) for step in range(run.steps + 1)] == pytest.approx(expected, abs=1e-12)
    for step in reversed(range(run.steps + 1)):
        assert asked.coverage(step) == pytest.approx(expected[step], abs=1e-12)


def _marks(run: StoreBatches, step: int, batch: int) -> int:
    """BOS and EOS of documents in those rows of a batch that belong to the first epoch; padding is EOS too."""
    first = step * batch
    numbers = np.arange(first, min(first + batch, run.rows_per_epoch))
    if not len(numbers):
        return 0
    placed = int(run._layout.pieces(0, numbers).length.sum())
    return placed - len(real_tokens(run.read(numbers)))


def assert_same_batches(make: Callable[[], Any], stop: int, worlds: tuple[int, int], workers: int) -> None:
    """A run of `worlds[0]` processes up to step `stop`, taken up by `worlds[1]`, shows what one process sees.

    Each process reads through `workers` workers, each with a source of its own and every `workers`-th step.
    """
    run = make()
    whole = [run.rows(step) for step in range(run.steps)]
    for world, steps in ((worlds[0], range(stop)), (worlds[1], range(stop, run.steps))):
        for rank in range(world):
            sources = [make() for _ in range(workers)]
            for step in steps:
                part = sources[step % workers].rows(step, rank, world)
                for name in ("ids", "position_ids", "labels"):
                    assert np.array_equal(getattr(part, name), getattr(whole[step], name)[rank::world])


@settings(max_examples=60, deadline=None)
@given(
    lengths=lengths_strategy,
    shape=st.tuples(st.integers(8, 40), st.integers(1, 13), st.floats(0.3, 3.7)),
    seed=st.integers(0, 9),
    stop=st.floats(0, 1),
    worlds=st.tuples(WORLDS, WORLDS),
    workers=st.integers(1, 4),
)
@pytest.mark.parametrize("kind", KINDS)
def test_batches_do_not_depend_on_processes_workers_or_restarts(
    tmp_path_factory: pytest.TempPathFactory,
    kind: str,
    lengths: list[int],
    shape: tuple[int, int, float],
    seed: int,
    stop: float,
    worlds: tuple[int, int],
    workers: int,
) -> None:
    store = write_store(tmp_path_factory.mktemp("store"), lengths)
    seq_len, batch, epochs = shape

    def make() -> StoreBatches:
        return source(store, kind, seq_len=seq_len, global_batch=batch, epochs=epochs, seed=seed)

    assert_same_batches(make, round(stop * make().steps), worlds, workers)


@pytest.mark.parametrize("kind", KINDS)
def test_every_pair_of_world_sizes_sees_the_same_batches(tmp_path: Path, kind: str) -> None:
    store = write_store(tmp_path / "store", LENGTHS)

    def make() -> StoreBatches:
        return source(store, kind, global_batch=12, epochs=3.5)

    for first in (1, 2, 3, 4, 6, 12):
        for second in (1, 2, 3, 4, 6, 12):
            assert_same_batches(make, make().steps // 2, (first, second), workers=1)


@pytest.mark.parametrize("kind", KINDS)
def test_no_row_is_dropped_and_only_the_last_batch_is_short(tmp_path: Path, kind: str) -> None:
    run = source(write_store(tmp_path / "store", LENGTHS), kind, global_batch=7, epochs=2.5)
    sizes = [len(rows.ids) for rows in epoch_rows(run)]
    assert sum(sizes) == int(np.ceil(2.5 * run.rows_per_epoch))
    assert set(sizes[:-1]) == {7} and 1 <= sizes[-1] <= 7
    assert all(rows.ids.shape == (size, 16) for rows, size in zip(epoch_rows(run), sizes, strict=True))
    with pytest.raises(IndexError, match=f"steps 0 to {run.steps - 1}, not {run.steps}"):
        run.rows(run.steps)
    assert run.rows(run.steps - 1, rank=99, world=100).ids.shape == (0, 16)


def test_packed_isolates_documents_and_restarts_positions(tmp_path: Path) -> None:
    store = write_store(tmp_path / "store", LENGTHS)
    owner = np.repeat(np.arange(len(LENGTHS)), LENGTHS)
    for rows in epoch_rows(source(store, "packed")):
        for ids, labelled in pieces(rows):
            real = [number for number in ids if number >= 10]
            assert len({int(owner[number - 10]) for number in real}) <= 1
            assert real == list(range(real[0], real[0] + len(real))) if real else not labelled or ids == [BOS, EOS]


def test_windows_are_plain_cuttings_and_short_papers_are_padded_without_loss(tmp_path: Path) -> None:
    lengths = [5, 100, 16]
    for kind in ("windows", "sweep"):
        run = source(write_store(tmp_path / kind, lengths), kind, global_batch=3, epochs=1)
        rows = run.rows(0)
        by_length = {
            len([i for i in ids if i >= 10]): (ids, lab)
            for ids, lab in zip(rows.ids.tolist(), rows.labels.tolist(), strict=True)
            if max(ids) < 15
        }
        ids, labels = by_length[5]
        assert ids == [10, 11, 12, 13, 14, *[EOS] * 11]
        assert labels == [IGNORE, 11, 12, 13, 14, EOS, *[IGNORE] * 10]
        assert (rows.ids == BOS).sum() == 0
        long = next(ids for ids in rows.ids.tolist() if 15 <= ids[0] < 115)
        assert long == list(range(long[0], long[0] + 16))


def test_sweep_shows_a_new_window_each_epoch_until_the_paper_is_done(tmp_path: Path) -> None:
    store = write_store(tmp_path / "store", [90, 64])
    run = source(store, "sweep", global_batch=2, epochs=12)
    seen: dict[int, list[set[int]]] = {0: [], 1: []}
    for rows in epoch_rows(run):
        for ids in rows.ids.tolist():
            seen[int(min(ids) >= 100)].append(set(ids))
    for windows, length in ((seen[0], 90), (seen[1], 64)):
        for epochs in range(1, 13):
            assert len(set().union(*windows[:epochs])) == min(length, epochs * 16)
        assert windows[0] == windows[-(-length // 16)], "then it begins again"


def test_windows_start_anywhere_and_change_with_the_epoch(tmp_path: Path) -> None:
    run = source(write_store(tmp_path / "store", [40, 40]), "windows", global_batch=2, epochs=2000)
    starts = [ids[0] - 10 for rows in epoch_rows(run) for ids in rows.ids.tolist() if ids[0] < 50 and max(ids) < 50]
    counts = np.bincount(starts, minlength=25)
    assert len(counts) == 25 and counts.min() > 40 and counts.max() < 130, "2,000 draws over 25 starts"


def test_seed_epoch_and_kind_change_the_order_and_the_fingerprint(tmp_path: Path) -> None:
    store = write_store(tmp_path / "store", LENGTHS)
    runs = {(kind, seed): source(store, kind, seed=seed, epochs=1) for kind in KINDS for seed in (0, 1)}
    orders = {name: tuple(t for rows in epoch_rows(run) for t in real_tokens(rows)) for name, run in runs.items()}
    assert len(set(orders.values())) == 2 * len(KINDS)
    variants = [source(store, "packed", **change) for change in ({}, {"seq_len": 17}, {"epochs": 3}, {"eos_id": 3})]
    assert len({run.fingerprint for run in [*runs.values(), *variants]}) == 2 * len(KINDS) + 4
    assert source(store, "packed").fingerprint == source(store, "packed").fingerprint
    other = write_store(tmp_path / "other", [*LENGTHS[:-1], 34])
    assert source(other, "packed").fingerprint != source(store, "packed").fingerprint


def test_held_out_documents_are_never_trained_on(tmp_path: Path) -> None:
    store = write_store(tmp_path / "store", [11] * 60, heldout=0.3)
    train = {t for rows in epoch_rows(source(store, "packed", epochs=1)) for t in real_tokens(rows)}
    heldout = {t for rows in epoch_rows(source(store, "packed", epochs=1, split="heldout")) for t in real_tokens(rows)}
    assert train and heldout and not train & heldout and len(train | heldout) == 660
    with pytest.raises(StoreError, match="no tokens in its heldout split"):
        source(write_store(tmp_path / "none", [11] * 6), "packed", split="heldout")


def test_a_tokenizer_without_bos_and_eos_packs_bare_documents(tmp_path: Path) -> None:
    store = write_store(tmp_path / "store", LENGTHS)
    run = source(store, "packed", bos_id=None, eos_id=None, epochs=1)
    assert run.total_tokens == sum(LENGTHS)
    assert sorted(t for rows in epoch_rows(run) for t in real_tokens(rows)) == list(range(10, 10 + sum(LENGTHS)))


@settings(max_examples=100, deadline=None)
@given(n=st.integers(1, 3000), seed=st.integers(0, 1000))
def test_a_permutation_is_a_bijection_with_its_inverse(n: int, seed: int) -> None:
    permutation = Permutation(n, seed)
    numbers = permutation(np.arange(n))
    assert np.array_equal(np.sort(numbers), np.arange(n))
    assert np.array_equal(permutation.inverse(numbers), np.arange(n))


@pytest.mark.parametrize("n", [13, 16, 30])
def test_permutations_are_even(n: int) -> None:
    """Where each number lands, and which follows which, over many seeds: chi-square far from both tails."""
    seeds = 4000
    orders = np.stack([Permutation(n, seed)(np.arange(n)) for seed in range(seeds)])  # [seeds, n]
    landed = np.stack([np.bincount(orders[:, i], minlength=n) for i in range(n)])
    pairs = np.zeros((n, n))
    np.add.at(pairs, (orders[:, :-1].ravel(), orders[:, 1:].ravel()), 1)
    for counts, expected in ((landed, seeds / n), (pairs[~np.eye(n, dtype=bool)], seeds / n)):
        chi2 = ((counts - expected) ** 2 / expected).sum() / counts.size
        assert 0.6 < chi2 < 1.4


def test_best_fit_cuts_only_documents_longer_than_a_row(tmp_path: Path) -> None:
    lengths = [5, 9, 14, 3, 1, 30, 45, 7, 7, 7, 2]
    store = write_store(tmp_path / "store", lengths)
    run = source(store, "best_fit", epochs=1)
    found = [ids for rows in epoch_rows(run) for ids, labelled in pieces(rows) if labelled]
    whole = [[number for number in ids if number >= 10] for ids in found if ids[0] == BOS and ids[-1] == EOS]
    assert sorted(map(len, whole)) == sorted(length for length in lengths if length + 2 <= 16)
    assert run.rows_per_epoch == 5 + 5, "rows full of one document, and rows of last pieces"


@settings(max_examples=100, deadline=None)
@given(lengths=st.lists(st.integers(1, 29), max_size=50), capacity=st.integers(29, 60))
def test_best_fit_equals_the_plain_algorithm(lengths: list[int], capacity: int) -> None:
    plain: list[list[int]] = []
    for length in sorted(lengths, reverse=True):
        fitting = [row for row in plain if sum(row) + length <= capacity]
        max(fitting, key=sum).append(length) if fitting else plain.append([length])
    rows = [
        group.lengths for group in best_fit(np.bincount(lengths, minlength=30), capacity) for _ in range(group.count)
    ]
    assert sorted(length for row in rows for length in row) == sorted(lengths)
    assert sorted(map(sum, rows)) == sorted(map(sum, plain))


@pytest.mark.parametrize("kind", KINDS)
def test_a_range_of_documents_is_seen_alone(kind: str, tmp_path: Path) -> None:
    store = write_store(tmp_path, LENGTHS)
    first_id, last = 10 + sum(LENGTHS[:5]), 10 + sum(LENGTHS[:9])
    part = source(store, kind, within=range(5, 9), epochs=1.0)
    ids = {int(i) for step in range(part.steps) for row in pieces(part.rows(step)) for i in row[0] if row[1]}
    assert ids - {BOS, EOS} and ids - {BOS, EOS} <= set(range(first_id, last))
    assert part.fingerprint != source(store, kind, epochs=1.0).fingerprint
    with pytest.raises(StoreError, match="train split among documents 1 to 1"):
        source(store, kind, within=range(1, 2))
