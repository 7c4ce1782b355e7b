"""Black boxes: targets that answer posteriors and show nothing else of themselves.

    box.py          what a black box is; trained models as black boxes
    posteriors.py   what one answered, and the truth
    files.py        posteriors (npz, csv, parquet) and records on disk
    asked.py        asks at a price: each record once, a budget, a pace, nothing paid is lost
    answers.py      every answer on disk, as it came
    client.py       endpoints and functions as what is asked
    protocol.py     how an endpoint is asked, as data; a user's mapping file
    protocols.py    jleaks' own protocol, TensorFlow Serving, KServe, MLflow
    transport.py    one request over HTTP, bounded in bytes and seconds
    address.py      addresses, and what of them and of foreign text may be shown
    pace.py         limits: when something may be asked, and how long it is waited before it is again
    about.py        the requests and answers of jleaks' own protocol
    server.py       puts any black box behind HTTP

An attacker has files of posteriors, or asks a box and then has them.
"""
