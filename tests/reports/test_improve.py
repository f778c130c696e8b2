"""The improve page: what it says, that its numbers are the scoring functions', that it stands alone."""

import base64
import hashlib
from pathlib import Path
from typing import get_args

import numpy as np
import pytest

from codojo.errors import LogError
from codojo.finetune.gate import GateReport
from codojo.graphs.improve_report import REPORT, ImproveReport
from codojo.reports.improve import load_reports, render_improve, write_improve
from codojo.reports.measures import gap_closed, held_out
from codojo.reports.page import percent, points
from codojo.reports.story import choose_shown
from codojo.scoring.intervals import cluster_bootstrap, difference_interval, mean_interval
from codojo.scoring.passk import mean_pass_at_k, pass_at_k
from codojo.trajectories.log import Log
from codojo.trajectories.schema import Trajectory
from tests.reports.made import ADAPTER, BASE, RUN, Ending, World, improve_report, score
from tests.reports.pages import read

ENDINGS: list[Ending | None] = [*get_args(Ending), None]
SAID = {
    "promoted": f"The adapter {ADAPTER} won: ",
    "refused": f"No adapter was promoted: the gain of the adapter {ADAPTER} may well be luck",
    "rejected": f"No adapter was promoted: the adapter {ADAPTER} failed its load check (weights)",
    "nothing_to_learn": "No adapter was promoted: none of the answers to 24 train tasks passed",
    None: "No adapter was promoted: no round was run",
}

Made = tuple[ImproveReport, dict[str, Trajectory]]


@pytest.fixture(scope="module")
def promoted() -> Made:
    return improve_report("promoted")


@pytest.mark.parametrize("ending", ENDINGS)
def test_every_ending_gives_a_page_that_says_so_and_stands_alone(ending: Ending | None) -> None:
    report, found = improve_report(ending)
    html = render_improve(report, found)
    page = read(html)
    assert page.problems == []
    assert SAID[ending] in page.text
    assert len(html.encode()) < 1_500_000
    assert "refused by the gate" in page.text or ending != "refused"
    assert ("Task by task" in page.text) == (ending == "promoted")
    assert "undefined" not in page.text.lower() and "nan" not in page.text.lower().split()


def test_the_policy_allows_our_style_and_nothing_else(promoted: Made) -> None:
    page = read(render_improve(*promoted))
    digest = base64.b64encode(hashlib.sha256(page.style.encode()).digest()).decode()
    policy = page.metas["Content-Security-Policy"]
    assert policy == (
        f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    )
    assert "url(" not in page.style and "@import" not in page.style
    assert page.tags["style"] == 1


def test_the_figures_are_those_of_the_scoring_functions(promoted: Made) -> None:
    report, found = promoted
    figures = held_out(report)
    assert report.after is not None and figures.after and figures.difference
    text = read(render_improve(report, found)).text
    for measured, side in ((report.before, figures.before), (report.after, figures.after)):
        counts = [(s.samples, s.passed) for s in measured.scores]
        for k in (1, 2, 7, 16):
            assert side.at(k).value == pytest.approx(mean_pass_at_k(counts, k))
        scores = [s.task_score for s in measured.scores]
        interval = mean_interval(scores, rng=np.random.default_rng(0))
        assert (side.at(1).low, side.at(1).high) == interval
        families: dict[str, list[float]] = {}
        for s in measured.scores:
            families.setdefault(s.family, []).append(pass_at_k(s.samples, s.passed, 16))
        assert (side.at(16).low, side.at(16).high) == cluster_bootstrap(
            families, rng=np.random.default_rng(0)
        )
        assert side.tokens_per_sample == measured.cost.tokens / sum(n for n, _ in counts)
        assert percent(side.at(1).value) in text and percent(side.at(16).value) in text
    first, second = ([s.task_score for s in m.scores] for m in (report.before, report.after))
    low, high = difference_interval(first, second, rng=np.random.default_rng(0))
    assert (figures.difference.low, figures.difference.high) == (low, high)
    gain = figures.after.at(1).value - figures.before.at(1).value
    assert f"({points(gain)} points, 95\u202f% interval {points(low)} to {points(high)})" in text


def test_the_gap_closed_is_the_gain_over_what_more_answers_would_have_given() -> None:
    before = [score("a", "f", 4, 1), score("b", "g", 4, 0), score("c", "h", 4, 4)]
    after = [score("a", "f", 4, 3), score("b", "g", 4, 0), score("c", "h", 4, 4)]
    closed = gap_closed(before, after, 4)
    assert closed is not None
    assert closed.value == pytest.approx((2 / 4) / (3 / 4))
    assert gap_closed(before[1:], after[1:], 4) is None, "always or never solved: there is no gap"


def test_equal_token_rows_never_give_the_model_before_more_tokens(promoted: Made) -> None:
    figures = held_out(promoted[0])
    assert [row.k_after for row in figures.budget] == [1, 2, 4, 8, 16]
    for row in figures.budget:
        spent = row.k_before * figures.before.tokens_per_sample
        assert spent <= row.tokens + 1e-6
        assert row.capped or spent + figures.before.tokens_per_sample > row.tokens
        assert row.before == (figures.before.at(row.k_before).value if row.k_before else None)


def test_few_families_are_told(promoted: Made) -> None:
    report, found = improve_report("refused", World(tasks=8))
    assert "of only 4 families" in read(render_improve(report, found)).text
    assert "of only" not in read(render_improve(*promoted)).text


def test_a_gain_that_the_held_out_tasks_do_not_confirm_is_not_sold_as_one() -> None:
    report, found = improve_report("promoted", skill=0.9)
    figures = held_out(report)
    assert figures.difference is not None and not figures.difference.is_gain
    text = read(render_improve(report, found)).text
    assert "still includes no change at all" in text and "lies above zero" not in text


def test_a_gain_with_a_loss_on_the_guard_suite_is_told_as_both() -> None:
    report, found = improve_report("promoted")
    (done,) = report.rounds
    gate = done.gate
    assert gate is not None and gate.guard is not None
    lost = gate.guard.model_copy(update={"difference": -0.2, "low": -0.3, "high": -0.1})
    refused: GateReport = gate.model_copy(update={"guard": lost, "promote": False})
    round_ = done.model_copy(update={"gate": refused, "outcome": "refused"})
    changed = report.model_copy(update={"rounds": (round_,), "after": None, "champion": None})
    text = read(render_improve(changed, found)).text
    assert "but lost other abilities on the guard suite" in text


def test_the_rollouts_shown_are_one_gained_one_failed_and_one_that_taught(promoted: Made) -> None:
    gained, failed, taught = choose_shown(*promoted)
    report, found = promoted
    before = {found[id].brief.task_id: found[id] for id in report.before.rollouts}
    earlier = before[gained.trajectory.brief.task_id]
    assert gained.trajectory.verdict and gained.trajectory.verdict.passed
    assert not any(p.verdict and p.verdict.passed for p in earlier.proposals)
    assert failed.trajectory.verdict and not failed.trajectory.verdict.passed
    assert taught.trajectory.brief.split == "train" and "row of round 1" in taught.why


def test_a_page_is_drawn_without_any_rollout(promoted: Made) -> None:
    page = read(render_improve(promoted[0], {}))
    assert page.problems == [] and "See for yourself" not in page.text


def test_every_page_that_is_linked_is_there_and_links_back(tmp_path: Path, promoted: Made) -> None:
    index = write_improve(tmp_path, *promoted)
    assert index == tmp_path / "reports" / RUN / "index.html"
    links = [link for link in read(index.read_text()).links if not link.startswith("#")]
    assert len(links) == 3
    for link in links:
        page = read((index.parent / link).read_text())
        assert page.problems == [] and "index.html" in page.links
    assert {p.name for p in index.parent.iterdir()} == {"index.html", *links}, "nothing left over"


def test_a_page_that_cannot_be_written_leaves_the_old_one_and_says_why(
    tmp_path: Path, promoted: Made
) -> None:
    (tmp_path / "reports").write_text("in the way")
    with pytest.raises(LogError, match=r"cannot write .*permissions"):
        write_improve(tmp_path, *promoted)
    assert (tmp_path / "reports").read_text() == "in the way"


def test_a_hostile_run_id_stays_inside_the_reports_folder(tmp_path: Path, promoted: Made) -> None:
    report = promoted[0].model_copy(update={"run": "../../etc/x"})
    page = write_improve(tmp_path / "dojo", report, {})
    assert page.resolve().parent.parent == (tmp_path / "dojo" / "reports").resolve()


def test_the_log_gives_the_last_report_of_each_run_the_newest_at_the_end(
    tmp_path: Path, promoted: Made
) -> None:
    report = promoted[0]
    other = report.model_copy(update={"run": "01KAAAAAAAAAAAAAAAAAAAAAAA"})
    with Log(tmp_path) as log:
        for logged in (report, other, report.model_copy(update={"reasked": 7})):
            log.append(REPORT, logged.model_dump(mode="json")).result()
    found = load_reports(tmp_path)
    assert list(found) == [other.run, report.run]
    assert found[report.run].reasked == 7
    assert render_improve(found[other.run], {}) == render_improve(other, {})


def test_a_report_of_another_version_is_refused_with_what_to_do(tmp_path: Path) -> None:
    with Log(tmp_path) as log:
        log.append(REPORT, {"run": RUN, "shape": "other"}).result()
    with pytest.raises(LogError, match="version of codojo that made it"):
        load_reports(tmp_path)


def test_the_same_report_gives_the_same_page(promoted: Made) -> None:
    assert render_improve(*promoted) == render_improve(*promoted)
    assert BASE in render_improve(*promoted)


def test_several_rounds_stand_one_after_the_other() -> None:
    report, found = improve_report("promoted")
    refused, _ = improve_report("refused")
    (first,), (second,) = refused.rounds, report.rounds
    both = (first, second.model_copy(update={"number": 2}))
    page = read(render_improve(report.model_copy(update={"rounds": both}), found))
    assert page.problems == []
    assert {"round-1", "round-2"} <= set(page.ids)
    assert "refused by the gate, promoted" in page.text
