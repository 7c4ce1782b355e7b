"""Black boxes: targets that answer posteriors and show nothing else of themselves.

    box.py          what a black box is; Python functions and trained models as black boxes
    posteriors.py   what one answered, and the truth
    files.py        posteriors (npz, csv, parquet) and records on disk
    protocol.py     the requests and answers of a black box behind HTTP
    client.py       asks over HTTP: time-outs, retries, rates, a budget
    pace.py         when the client may ask, and how long it waits before it asks again
    answers.py      every answer on disk, so that none is paid for twice
    server.py       puts any black box behind HTTP
    case.py         one target and what its attacker has
    audit.py        the three adversaries from posteriors alone, and attacks that look at labels
    labelled.py     attacks that look at labels: gap, loss, modified entropy, thresholds per class
    remarks.py      what must be said beside an audit's numbers
    table.py        what the audit found

An attacker has files of posteriors, or asks a box and then has them.
"""
