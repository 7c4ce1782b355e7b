"""Reports of the paper's experiments, from result rows alone.

    titles.py       experiments E1 to E18: alias, title, question, what the paper says
    rows.py         what a row must hold; the files that hold rows
    results.py, groups.py    rows -> groups over seeds
    contrasts.py    groups that differ in one thing, on the same seeds
    cells.py, tables.py, contrast_tables.py    Markdown tables with intervals
    bars.py, comparisons.py    bars; curves.py, series.py, classes.py    curves with bands
    grids.py, points.py, densities.py    dropout ratios, t-SNE, maxima
    findings.py, verdicts.py    a sentence or two per experiment, computed
    report.py       all of it for one experiment; page.py: all experiments on one page

Figures of overfitting, transfer, statistics and adversaries are those of `jleaks.report`.
"""
