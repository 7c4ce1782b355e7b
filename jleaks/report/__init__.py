"""The report of a run: result rows, and the tables and figures computed from them alone.

    run.py       everything that a run reports
    rows.py      one row per attack on one target; JSON lines and CSV
    summary.py   rows -> mean and interval over seeds, per attack, shadow task and target task
    titles.py    what tasks, adversaries and sources are called
    tables.py    terminal, text file, Markdown
    figures.py   PNG files; labels.py places the names in a scatter plot
    files.py     each file appears whole or not at all

The statistics behind the intervals are in `jleaks.metrics.intervals`.  A task whose records are synthetic
or a stand-in is called so in every table and figure.
"""
