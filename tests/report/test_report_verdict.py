"""The verdict says what was shown and how surely; the published table and two runs get the same statistics."""

import re
from pathlib import Path
from typing import Any

import msgspec
import polars as pl
import pytest
from lxml import html

from pmc_llama.errors import InputError
from pmc_llama.files import read_json, write_json
from pmc_llama.recipe import load_recipe
from pmc_llama.records.primary import Primary
from pmc_llama.records.results import Results
from pmc_llama.records.training import read_metrics
from pmc_llama.report import curves
from pmc_llama.report.browser import browser
from pmc_llama.report.compare import compare
from pmc_llama.report.console import print_results
from pmc_llama.report.page import build_report
from pmc_llama.report.published import PAIRS, SIZES, published_table, real_formats, unpaired_p
from pmc_llama.report.run import Run
from pmc_llama.results.primary import primary_question
from pmc_llama.results.table import compute_results
from pmc_llama.results.verdict import Verdict, judge
from report.fake_run import REGIMES, write_run
from report.readback import mismatches

FULL = {"full": REGIMES["full"]}


def verdict_of(folder: Path, **options: Any) -> Verdict:
    run = write_run(folder, training=False, corpora=False, **{"regimes": FULL} | options)
    return judge(compute_results(run / "predictions.parquet", run / "results.json"), Run(run).regimes)


def test_a_gain_is_told_with_its_uncertainty(tmp_path: Path) -> None:
    verdict = verdict_of(tmp_path, gain=0.4)
    assert (verdict.kind, verdict.headline) == ("gain", "Gain")
    assert verdict.sentence.startswith("On 3 of 3 tasks the adapted model answers more questions right")
    assert verdict.sentence.count("95 % interval") == 3
    assert len(re.findall(r"p (?:< 0.001|= 0.00\d)", verdict.sentence)) == 3


def test_a_loss_is_told_as_plainly(tmp_path: Path) -> None:
    verdict = verdict_of(tmp_path, gain=-0.4)
    assert (verdict.kind, verdict.headline) == ("loss", "Loss")
    assert "fewer questions right" in verdict.sentence


def test_a_null_result_says_what_could_not_have_been_seen(tmp_path: Path) -> None:
    verdict = verdict_of(tmp_path, gain=0.0)
    assert (verdict.kind, verdict.headline) == ("none", "No difference shown")
    assert "not shown to be better or worse" in verdict.sentence
    assert "may well stay unseen" in verdict.sentence


def test_one_seed_and_accuracies_of_a_constant_answer_are_caveats(tmp_path: Path) -> None:
    caveats = " ".join(verdict_of(tmp_path, gain=0.0, seeds=(0,)).caveats)
    assert "One training seed" in caveats
    assert "not shown to beat a constant answer" in caveats


def summary_row(**values: Any) -> dict[str, Any]:
    row = {"regime": "full", "task": "t", "seeds": 2, "n": 1000, "delta_mean": 0.01, "delta_min": 0.005, "holm_p": 0.01}
    row |= {"delta_max": 0.015, "ci95": [0.002, 0.018], "second_ci95": [0.5, 0.6], "protocol": "in_domain"}
    row |= {"first_mean": 0.5, "first_ci95": [0.4, 0.6], "second_mean": 0.51, "delta_sd": 0.001, "p": 0.01}
    return row | values


def judged(*rows: dict[str, Any], general: tuple[float, float] | None = None, b: int = 40, c: int = 50) -> Verdict:
    baseline = {"task": "t", "n": 1000, "majority": 0.3, "majority_label": "A", "always_first": 0.25, "chance": 0.25}
    about = {"regime": "full", "seed": 0, "b": b, "c": c, "delta": 0.01, "ci95": [0, 0.02], "mcnemar_p": 0.3}
    pairs = [about | {"task": row["task"], "n": row["n"]} for row in rows]
    baselines = [baseline | {"task": row["task"]} for row in rows]
    results = {"summary": list(rows), "comparisons": pairs, "baselines": baselines}
    return judge(msgspec.convert(results, Results), {}, general=general)


def test_a_small_effect_is_called_small() -> None:
    verdict = judged(summary_row())
    assert verdict.headline == "Small gain"
    assert "a small effect" in verdict.sentence


def test_what_is_shown_names_what_it_is_about() -> None:
    one, tuned, method = (judged(summary_row(unit=unit)).caveats for unit in ("models", "tuning", "method"))
    assert "about these two models" in one[0]
    assert "not about another pre-training" in tuned[0]
    assert method == []


def test_what_it_cost_stands_beside_the_gain() -> None:
    general = {"task": "usmle", "protocol": "out_of_domain", "delta_mean": -0.031, "ci95": [-0.05, -0.01]}
    rows = [summary_row(primary=True, unit="method"), summary_row(unit="method", **general)]
    verdict = judged(*rows, general=(1.6, 111.04))
    assert verdict.kind == "gain" and "usmle" not in verdict.sentence
    assert verdict.caveats == [
        "What it cost: perplexity on held-out general text 1.60 before and 111.04 after, and out of domain, usmle "
        "−3.1 points (95 % interval −5.0 to −1.0; p = 0.010)."
    ]


def test_answers_that_were_seldom_parsed_stand_under_the_verdict_and_in_the_console(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = write_run(tmp_path, n=40, regimes=FULL, training=False, corpora=False)
    frame = pl.read_parquet(run / "predictions.parquet")
    silent = (pl.col("model") == "base") & (pl.col("task") == "usmle") & pl.col("question_id").str.ends_with("5")
    frame = frame.with_columns(chosen=pl.when(silent).then(-1).otherwise("chosen").cast(pl.Int32))
    frame.write_parquet(run / "predictions.parquet")
    results = compute_results(run / "predictions.parquet", run / "results.json")
    (found,) = [text for text in judge(results, Run(run).regimes).caveats if "could be parsed" in text]
    rates = [row.parse_rate for row in results.rows if (row.model, row.task) == ("base", "usmle")]
    assert f"fewer than 95 % of the answers could be parsed: usmle, base {100 * sum(rates) / 2:.1f} %." in found
    print_results(results)
    assert "fewer than 95 % of the answers could be parsed" in " ".join(capsys.readouterr().out.split())


def test_a_null_result_names_the_difference_at_the_corrected_level_and_never_none() -> None:
    alone, three = (
        judged(*[summary_row(task=task, holm_p=0.5, delta_mean=0.0) for task in tasks]).sentence
        for tasks in ("t", "tuv")
    )
    seen = [float(re.findall(r"under (\S+) points", text)[0]) for text in (alone, three)]
    assert 2 < seen[0] < seen[1]
    assert judged(summary_row(n=4183, holm_p=1.0, delta_mean=0.0), b=0, c=0).sentence.endswith(
        "are too few to show any."
    )


def test_a_null_result_of_many_questions_excludes_the_margin(tmp_path: Path) -> None:
    sure = {"holm_p": 0.5, "delta_mean": 0.001, "unit": "tuning", "df": 50.0}
    text = judged(summary_row(se=0.004, **sure)).sentence
    assert text.endswith("may well stay unseen, and one of 2 points or more is excluded on every task.")
    assert "excluded" not in judged(summary_row(se=0.012, **sure)).sentence
    assert "excluded" not in judged(summary_row(se=0.004, **sure), summary_row(task="u", se=0.012, **sure)).sentence
    run = write_run(tmp_path, n=1500, gain=0.0, regimes={"zero-shot": REGIMES["zero-shot"]}, training=False)
    frame = pl.read_parquet(run / "predictions.parquet")
    frame = pl.concat([frame.filter(model="base"), frame.filter(model="base").with_columns(model=pl.lit("adapted"))])
    swapped = (pl.col("model") == "adapted") & pl.col("question_id").str.ends_with("3")
    other = pl.col("chosen").shift(1).over("model", "task")
    frame = frame.with_columns(chosen=pl.when(swapped).then(other).otherwise("chosen"))
    frame.write_parquet(run / "predictions.parquet")
    read = Run(run)
    compute_results(run / "predictions.parquet", run / "results.json", read.contaminated, primary=read.primary)
    build_report(run)
    assert "is excluded on every task" in html.parse(str(run / "report.html")).xpath("string(//p[@class='sentence'])")
    assert mismatches(run) == []


def test_only_the_primary_question_is_coloured(run_dir: Path) -> None:
    page = html.parse(str(run_dir / "report.html"))
    tones = page.xpath("//td[contains(@class, 'gain') or contains(@class, 'loss')]")
    assert tones
    assert {cell.xpath("string(../@data-regime)") for cell in tones} == {"full"}
    assert {cell.xpath("string(ancestor::table/@data-table)") for cell in tones} == {"paper"}


def test_a_question_changed_after_the_first_score_is_told(tmp_path: Path) -> None:
    run = write_run(tmp_path, n=30, regimes=REGIMES, training=False, corpora=False)
    asked = primary_question(load_recipe(run / "recipe.yaml"))
    assert asked == Primary("full", ["pubmed", "mcqa", "usmle"])
    write_json(run / "primary.json", Primary("peft", ["mcqa"], margin=0.05))
    read = Run(run)
    results = compute_results(run / "predictions.parquet", run / "results.json", primary=read.primary)
    assert [(row.regime, row.task) for row in results.summary if row.primary] == [("peft", "mcqa")]
    (row,) = [row for row in results.summary if row.primary]
    assert row.holm_p == row.p, "a single primary hypothesis is tested alone"
    build_report(run)
    text = " ".join(html.parse(str(run / "report.html")).xpath("//p[@class='caveat']/text()"))
    assert "changed after the first score. Before it was: adapted against base, regime peft, " in text
    assert "mcqa, a margin of 5 points." in text


def test_gain_and_loss_together_are_both_told() -> None:
    loss = {"delta_mean": -0.1, "delta_min": -0.12, "delta_max": -0.08, "ci95": [-0.15, -0.05]}
    verdict = judged(summary_row(), summary_row(task="u", **loss), summary_row(task="v", holm_p=0.5))
    assert verdict.kind == "mixed"
    assert "better" in verdict.sentence and "worse" in verdict.sentence
    assert "on v no difference is shown" in verdict.sentence


def test_the_verdict_is_about_the_first_full_regime_whatever_the_results(tmp_path: Path) -> None:
    regimes = {name: REGIMES[name] for name in ("zero-shot", "peft", "efficient-10", "full")}
    assert verdict_of(tmp_path, regimes=regimes, n=20).regime == "full"


@pytest.mark.parametrize(
    ("pair", "column", "expected"),
    [(0, 0, 0.94), (0, 1, 0.010), (0, 2, 0.029), (1, 0, 0.49), (1, 1, 0.51), (1, 2, 0.057)],
)
def test_the_published_differences_have_the_p_values_of_the_reference(pair: int, column: int, expected: float) -> None:
    n = list(SIZES.values())[column][0]
    shares = PAIRS[pair].base_percent[column], PAIRS[pair].adapted_percent[column]
    counts = [round(share / 100 * n) for share in shares]
    assert unpaired_p(n, counts[0], counts[1]) == pytest.approx(expected, rel=0.02)


def test_published_rows_stand_only_beside_real_questions(tmp_path: Path) -> None:
    for minimed in (True, False):
        run = write_run(tmp_path / str(minimed), n=5, regimes=FULL, training=False, corpora=False, minimed=minimed)
        compute_results(run / "predictions.parquet", run / "results.json")
        assert ("table-published" in build_report(run).read_text()) != minimed
    table = published_table(real_formats(Run(run).recipe))
    assert "+0.2 (−3.7 to +4.0; p = 0.94, +2 right)" in table.markdown()
    assert "| zero-shot | ChatGPT | 57.00 % | – | 44.70 % | 63.90 % |" in table.markdown()
    assert "| people | pass mark | 50.00 % | – | – | 60.00 % |" in table.markdown()
    assert "pass mark" not in published_table({"medmcqa"}).markdown()
    assert published_table({"headqa"}).rows == []


def test_two_runs_are_compared_on_the_same_questions(tmp_path: Path) -> None:
    runs = [tmp_path / "first", tmp_path / "second"]
    for run, gain in zip(runs, (0.0, 0.5), strict=True):
        write_run(run, gain=gain, regimes=FULL, training=False, corpora=False)
    found = compare(*runs)
    holm = {(row.values["model"], row.values["task"]): row.values["holm_p"] for row in found.answers.rows}
    assert all((p < 0.05) == (model == "adapted") for (model, _), p in holm.items())
    assert "| adapted | full | usmle |" in found.markdown()
    assert found.names == ("first", "second")
    same = compare(runs[0], runs[0])
    assert {row.values["p"] for row in same.answers.rows} == {1.0}
    assert same.differences.rows == []


def test_what_two_runs_do_not_share_is_named(tmp_path: Path) -> None:
    a = write_run(tmp_path / "a", n=10, regimes=FULL, training=False, corpora=False)
    b = write_run(tmp_path / "b", n=12, regimes=REGIMES, training=False, corpora=False)
    found = compare(a, b)
    assert found.answers.rows == []
    assert "base · full · usmle: not the same questions, 10 and 12" in found.only
    assert "base · zero-shot · usmle: only in b" in found.only
    assert "recipe.regimes.peft.kind" in [row.values["key"] for row in found.differences.rows]
    with pytest.raises(InputError, match="does not exist"):
        compare(a, tmp_path)


def test_questions_beyond_the_limit_are_left_out_and_counted(run_dir: Path) -> None:
    run = Run(run_dir)
    shown = browser(run.questions, run.predictions, limit_bytes=30_000)
    assert shown is not None
    assert 0 < shown.shown < shown.total == 180
    assert len(shown.json) < 60_000


def test_contamination_is_shown_with_examples(run_dir: Path) -> None:
    page = (run_dir / "report.html").read_text()
    assert "the words &lt;they&gt; share" in page
    assert "1 test question found in papers, which stayed in what was trained on." in page


def test_metrics_of_an_interrupted_and_resumed_run_are_read_once(tmp_path: Path) -> None:
    logged = [(1, 3.0), (2, 9.0), (2, 2.0)]
    lines = [f'{{"step": {step}, "lr": 0.1, "tokens": 8, "loss": {loss}}}' for step, loss in logged]
    lines += ['{"step": 2, "heldout": {"corpus": {"loss": 800.0, "perplexity": null, "tokens": 5}}}', '{"step": 3, "lo']
    (tmp_path / "metrics.jsonl").write_text("\n".join(lines))
    metrics = read_metrics(tmp_path / "metrics.jsonl")
    assert [one.loss for one in metrics.steps] == [3.0, 2.0]
    assert metrics.heldout_curve("corpus", "loss") == [(2.0, 800.0)]
    assert metrics.heldout_curve("corpus", "perplexity") == []


def test_a_long_curve_keeps_its_mean(run_dir: Path) -> None:
    curve = [(float(step), float(step % 7)) for step in range(1000)]
    thin = curves.thinned(curve)
    assert len(thin) == curves.POINTS
    assert sum(y for _, y in thin) / len(thin) == pytest.approx(3, abs=0.05)


def test_results_are_those_of_the_contract(run_dir: Path) -> None:
    results = read_json(run_dir / "results.json")
    row = {
        "model",
        "regime",
        "seed",
        "task",
        "protocol",
        "n",
        "correct",
        "accuracy",
        "ci95",
        "macro_f1",
        "ece",
        "parse_rate",
    }
    assert row <= set(results["rows"][0])
    assert {"regime", "task", "seed", "n", "b", "c", "delta", "ci95", "mcnemar_p", "holm_p"} <= set(
        results["comparisons"][0]
    )
    assert {"regime", "task", "seeds", "delta_mean", "delta_sd", "ci95"} <= set(results["summary"][0])
    assert {"task", "n", "majority", "majority_label", "always_first"} <= set(results["baselines"][0])
