"""Banks on one pool beside banks on fresh records: who trains on what, and what is counted."""

import numpy as np
from conftest import ROOT

from benchmarks.checks import pool_bias
from benchmarks.pages import filled, told
from jleaks import json_lines


def test_the_third_bank_shares_audited_records_alone():
    rng = np.random.default_rng(0)
    member, pool = pool_bias.membership(rng, 6, 40, 20, 0.5)
    assert pool == 80
    assert (member.sum(1) == 40).all()
    assert (member[:6] == member[6:12]).all()
    assert (member[0:6:2, :pool] != member[1:6:2, :pool]).all()
    fresh = member[12:]
    assert (fresh[:, :20].sum(0) == 3).all()
    assert (fresh[:, 20:pool] == 0).all()
    # Whatever fills a model up is no other's.
    assert (fresh[:, pool:].sum(0) == 1).all()
    assert not member[:12, pool:].any()


def test_a_smaller_share_is_of_a_larger_pool():
    member, pool = pool_bias.membership(np.random.default_rng(0), 4, 40, 20, 0.25)
    assert pool == 160
    assert (member[:4, :pool].sum(1) == 40).all()


def test_a_summary_is_of_differences_by_repetition():
    found = [
        {"auc_pool": 0.8, "auc_corrected": 0.74, "auc_fresh": 0.7, "covered": 0.5, "pool": 80},
        {"auc_pool": 0.6, "auc_corrected": 0.56, "auc_fresh": 0.6, "covered": 0.9, "pool": 80},
    ]
    row = pool_bias.summary(found)
    assert np.isclose(row["bias"], 0.05)
    assert np.isclose(row["bias_corrected"], 0.0)
    # t of one degree of freedom at 97.5%, and the standard error of two values 0.1 apart.
    assert np.isclose(row["bias_half"], 12.7062 * 0.05, rtol=1e-4)
    assert row["pool"] == 80
    assert np.isclose(row["covered"], 0.7)


def test_an_area_is_as_uncertain_as_areas_are():
    rng = np.random.default_rng(1)
    drawn = []
    for _ in range(400):
        scores = np.concatenate([rng.normal(1, 1, 32), rng.normal(0, 1, 32)])
        drawn.append(pool_bias._areas(scores[:, None], np.arange(64)[:, None] < 32)[0])
    assert np.isclose(np.std(drawn), pool_bias._deviation(np.mean(drawn), 64), rtol=0.15)


def test_the_page_has_the_rows_that_are_committed():
    rows = json_lines.read(ROOT / "results" / "records" / "pool_bias.jsonl")
    page = (ROOT / "docs" / "records.md").read_text()
    text = told(pool_bias.LAYOUT.table(rows), rows[0])
    assert filled(page, "pool bias", text) == page
