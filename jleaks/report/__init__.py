"""Reports: result rows in, tables, figures and sentences out, computed from them alone.

    report.py    everything that a run or an experiment reports; page.py: all experiments on one page
    rows.py      what a row of an experiment must hold
    groups.py    rows -> groups over seeds, with mean and interval of every column
    contrasts.py groups that differ in one thing, on the same seeds
    findings.py  a sentence or two per experiment
    columns.py   what every column is called and how it is written; titles.py: tasks and sources
    tables.py    tables of the main job and of experiments; bank_tables.py: of banks, costs and audits
    table.py     one table for terminal and Markdown; numbers.py: how a number is written
    figures/     the figures

What an experiment compares, and which tables and figures it has, is `jleaks.experiments.designs`.  A task
whose records are synthetic or a stand-in is called so in every table and figure.

>>> from jleaks.report.table import Cell, Table
>>> cells = "Loss", Cell("0.7", marked=True)
>>> print(Table.of("Attacks", "One target.", ("Attack", "AUC"), 1, [cells]).to_markdown())
### Attacks
<BLANKLINE>
| Attack | AUC |
| --- | ---: |
| Loss | **0.7** |
<BLANKLINE>
One target.
<BLANKLINE>
"""
