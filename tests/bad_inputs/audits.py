"""Bad inputs of `jleaks audit`: files of posteriors, a model of one's own, functions, endpoints."""

import numpy as np

from . import endpoints
from .case import Bad, Table
from .worlds import (
    cut,
    encrypted,
    images,
    npy_header,
    npz_bytes,
    own,
    pickled,
    posteriors,
    records,
    several,
    text,
    train,
)  # fmt: skip

_TARGET = "--target={}/p.npz"
_FILES = {
    "nowhere": ("p.npz", text("other", "")),
    "no_npz": ("p.npz", text("p.npz", "hello")),
    "cut": ("p.npz", cut(posteriors(), "p.npz")),
    "encrypted": ("p.npz", encrypted("p.npz")),
    "pickle": ("p.npz", pickled("p.npz")),
    "huge": ("p.npz", npz_bytes("p.npz", "posteriors.npy", npy_header((10**9, 10**4)))),
    "no_posteriors": ("posteriors", posteriors(drop=("posteriors",))),
    "no_member": ("member", posteriors(drop=("member",))),
    "nan": ("record 3", posteriors(posteriors=lambda p: np.where(np.arange(40)[:, None] == 3, np.nan, p))),
    "negative": ("record 0", posteriors(posteriors=lambda p: p * [-1, 1, 1])),
    "sum": ("record", posteriors(posteriors=lambda p: p * 0.7)),
    "text": ("posteriors", posteriors(posteriors=lambda p: p.astype(str))),
    "complex": ("posteriors", posteriors(posteriors=lambda p: p.astype(complex))),
    "one_column_beyond": ("record", posteriors(posteriors=lambda p: p[:, :1] + 3)),
    "shape_3": ("posteriors", posteriors(posteriors=lambda p: p[None])),
    "no_records": ("p.npz", posteriors(n=0)),
    "no_classes": ("posteriors", posteriors(posteriors=lambda p: p[:, :0])),
    "scalar": ("posteriors", posteriors(posteriors=np.float64(1))),
    "member_2": ("member", posteriors(member=lambda m: m * 2)),
    "member_text": ("member", posteriors(member=lambda m: np.where(m, "maybe", "no"))),
    "member_short": ("member", posteriors(member=lambda m: m[:-1])),
    "member_all": ("member", posteriors(member=lambda m: m | True)),
    "label_beyond": ("label", posteriors(label=lambda y: y + 1)),
    "label_2_to_32": ("label", posteriors(label=lambda y: y + 2**32)),
    "label_2_to_63": ("label", posteriors(label=lambda y: y.astype(np.uint64) + np.uint64(2**63))),
    "label_half": ("label", posteriors(label=lambda y: y + 0.5)),
    "label_names": ("label", posteriors(label=lambda y: y.astype(str) + "x" + np.arange(40).astype(str))),
    "role": ("role", posteriors(role=np.full(40, "spy"))),
}  # fmt: skip
_TABLES = {
    "csv_empty": ("p.csv", text("p.csv", "")),
    "csv_header": ("p.csv", text("p.csv", "p0,p1,member\n")),
    "csv_ragged": ("p.csv", text("p.csv", "p0,p1,member\n0.5,0.5,1\n0.5,0.5\n")),
    "csv_word": ("many", text("p.csv", "p0,p1,member\n0.5,0.5,1\nmany,0.5,0\n")),
    "csv_gap": ("without a gap", text("p.csv", "p0,p1,p3,member\n0.5,0.3,0.2,1\n0.5,0.3,0.2,0\n")),
    "csv_twice": ("p1", text("p.csv", "p0,p1,p1,member\n0.5,0.3,0.2,1\n0.5,0.3,0.2,0\n")),
    "csv_arabic": ("p.csv", text("p.csv", "p0,p\u0662,member\n0.5,0.5,1\n0.5,0.5,0\n")),
    "csv_squared": ("p.csv", text("p.csv", "p0,p1,member\n0.5,0.5,\u00b2\n0.5,0.5,0\n")),
    "csv_digits": ("p.csv", text("p.csv", f"p0,p1,member\n0.5,0.5,{'9' * 5000}\n0.5,0.5,0\n")),
    "csv_nul": ("p.csv", text("p.csv", b"p0,p1,member\n0.5,\0,1\n")),
    "csv_latin": ("p.csv", text("p.csv", b"p0,p1,member\n0.5,0.5,\xff\n")),
    "csv_quote": ("p.csv", text("p.csv", 'p0,p1,member\n"0.5,0.5,1\n')),
    "csv_field": ("p.csv", text("p.csv", "p0,p1,member\n" + "1" * 200_000 + ",0,1\n")),
}
_ASKED = ["--records={}/r.npz"]
_CALL = "--target_callable={}/train.py:"
_WORLD = several(train, records())
_FLAGS = {
    "nothing": ([], ["--target", "--target_url", "expected one of them"]),
    "two_targets": ([_TARGET, "--target_url=http://127.0.0.1:9"], ["--target", "expected one of them"]),
    "half_a_pair": (["--target_members={}/p.npz"], ["--target_members is given, but not --target_nonmembers"]),
    "shadow_twice": ([_TARGET, "--shadow={}/p.npz", "--shadow_members={}/p.npz", "--shadow_nonmembers={}/p.npz"],
                     ["--shadow and --shadow_members"]),
    "records_unasked": ([_TARGET, "--records={}/p.npz"], ["--records is given, but --target has the answers"]),
    "points_unasked": ([_TARGET, "--num_random_points=100"], ["--num_random_points is given, but a file"]),
    "batch_unasked": ([_TARGET, "--batch=4"], ["--batch is given, but nothing is asked"]),
    "batch_0": ([_TARGET, "--batch=0"], ["batch"]),
    "token_unasked": ([_TARGET, "--token_file=x"], ["--token_file is given, but there is no --target_url"]),
    "fit_unasked": (["--fit=train.py:fit"], ["--fit says something of --data, which is not given"]),
    "seed_negative": ([_TARGET, "--seed=-1"], ["seed", "-1"]),
    "seed_2_to_32": ([_TARGET, "--seed=4294967296"], ["seed", "4294967296"]),
    "top_0": ([_TARGET, "--top=0"], ["top is 0"]),
    "top_huge": ([_TARGET, "--shadow={}/p.npz", "--top=1000000"], ["top is 1000000"]),
    "percentile": ([_TARGET, "--percentile=0"], ["percentile is 0"]),
    "attack_epochs": ([_TARGET, "--shadow={}/p.npz", "--attack_epochs=0"], ["epochs is 0"]),
    "shadow_nowhere": ([_TARGET, "--shadow={}/none.npz"], ["none.npz"]),
    "random_nowhere": ([_TARGET, "--random={}/none.npz"], ["none.npz"]),
    "out_empty": ([_TARGET, "--out_dir="], ["--out_dir"]),
    "out_is_a_file": ([_TARGET, "--out_dir={}/p.npz"], ["p.npz"]),
    "empty_target": (["--target="], ["--target"]),
    "suffix": (["--target={}/p.mat"], ["p.mat"]),
    "defence_none_such": ([_TARGET, "--defence=topk:1"], ["topk", "top_k"]),
    "defence_strength": ([_TARGET, "--defence=top_k"], ["top_k", "classes", "missing"]),
    "defence_training": ([_TARGET, "--defence=relaxloss:0.5"], ["relaxloss:0.5 is not a defence of answers alone"]),
    "defence_preliminary": ([_TARGET, "--defence=selena:4,2"], ["selena:4,2 is not a defence of answers alone", "others beside it"]),
    "defence_pairs": ([_TARGET, "--shadow={}/p.npz,{}/p.npz", "--defence=memguard:1"], ["--defence=memguard:1 holds", "2 --shadow", "give one"]),
    "defence_points": ([_TARGET, "--defence=hamp_output:1"], ["jleaks serve --defence=hamp_output:1"]),
}  # fmt: skip
_FUNCTIONS = {
    "nowhere": ("--target_callable={}/none.py:f", "none.py"),
    "no_function": (_CALL + "none", "none"),
    "no_colon": ("--target_callable=train", "train"),
    "relative": ("--target_callable=.rel:f", ".rel"),
    "system": ("--target_callable=os:system", "os:system"),
    "number": (_CALL + "number", "expected a function"),
    "raises": (_CALL + "raises", "not today"),
    "words": ("--target_callable={}/words.py:f", "words.py"),
    "syntax": ("--target_callable={}/syntax.py:f", "syntax.py"),
    "leaves": ("--target_callable={}/leaves.py:f", "leaves.py"),
    "import_raises": ("--target_callable={}/raises.py:f", "raises.py"),
    "latin": ("--target_callable={}/latin.py:f", "latin.py"),
}
_SOURCES = several(
    _WORLD,
    text("words.py", "f = lambda records: 'certainly'\n"),
    text("syntax.py", "def f(:\n"),
    text("leaves.py", "raise SystemExit(0)\n"),
    text("raises.py", "raise RuntimeError('no\\nluck')\n"),
    text("latin.py", b"# \xff\nf = 1\n"),
)
_RECORDS = {
    "nowhere": ("r.npz", train),
    "no_npz": ("r.npz", several(train, text("r.npz", "x"))),
    "no_records": ("records", several(train, records(records=None))),
    "no_member": ("member", several(train, records(member=None))),
    "member_short": ("member", several(train, records(member=np.ones(3)))),
    "text": ("records", several(train, records(records=np.full((20, 4), "x")))),
    "objects": ("r.npz", several(train, pickled("r.npz"))),
    "label_beyond": ("label", several(train, records(label=np.full(20, 7)))),
    "label_huge": ("label", several(train, records(label=np.full(20, 2**32)))),
    "none_at_all": ("r.npz", several(train, records(records=np.zeros((0, 4), np.uint8), member=np.zeros(0), label=None))),
}  # fmt: skip
_OWN = ["--data={}/own.csv", "--fit={}/train.py:fit", "--predict={}/train.py:predict", "--num_shadows=4",
        "--num_processes=1"]  # fmt: skip
_OWN_FLAGS = {
    "no_way_to_train": (["--data={}/own.csv"], ["needs a way to train shadow models"]),
    "network_nowhere": (["--data={}/own.csv", "--network=n.py:N"], ["n.py"]),
    "defence": ([*_OWN, "--defence=top_k:1"], ["--defence is put before what a black box answered"]),
    "policy_alone": ([*_OWN, "--policy=p.toml"], ["what a --shadow_budget is spent for"]),
    "budget": ([*_OWN, "--budget=16"], ["of shadow models say --shadow_budget"]),
    "two_budgets": ([*_OWN, "--shadow_budget=16"], ["--shadow_budget and --num_shadows"]),
    "shadows_negative": ([*_OWN, "--num_shadows=-1"], ["num_shadows"]),
    "shadows_huge": ([*_OWN, "--num_shadows=1000000000"], ["num_shadows"]),
    "label": ([*_OWN, "--label=nothing"], ["nothing"]),
    "member": ([*_OWN, "--member=nothing"], ["nothing"]),
    "groups": ([*_OWN, "--groups=shoe"], ["has no shoe"]),
    "id": ([*_OWN, "--id=name"], ["name"]),
    "drop": ([*_OWN, "--drop=zzz"], ["zzz"]),
    "drop_all": ([*_OWN, "--drop=a,b"], ["own.csv"]),
    "fit_nowhere": ([*_OWN, "--fit={}/none.py:fit"], ["none.py"]),
    "fit_none": ([*_OWN, "--fit={}/train.py:nothing"], ["has no nothing"]),
    "fit_number": ([*_OWN, "--fit={}/train.py:number"], ["expected a function"]),
    "fit_raises": ([*_OWN, "--fit={}/train.py:broken"], ["fit raised RuntimeError: no luck"]),
    "fit_leaves": ([*_OWN, "--fit={}/train.py:leaves"], ["SystemExit"]),
    "predict_short": ([*_OWN, "--predict={}/train.py:short"], ["the audited model answered (1, 2), expected one answer for each of 40"]),
    "predict_words": ([*_OWN, "--predict={}/train.py:words"], ["the audited model answered (), expected"]),
    "predict_nan": ([*_OWN, "--predict={}/train.py:nan"], ["posterior of record 0 has nan"]),
    "attacks": ([*_OWN, "--attacks=los"], ["los"]),
    "answers_nowhere": ([*_OWN, "--answers={}/none.npz"], ["none.npz"]),
    "answers_short": ([*_OWN, "--answers={}/p.npz"], ["40"]),
    "answers_and_asked": ([*_OWN, "--answers={}/p.npz", "--target_url=http://127.0.0.1:9"], ["expected one of them"]),
    "data_py": ([*_OWN, "--data={}/train.py"], ["train.py: expected a .npz, .csv, .tsv or .parquet file, or a folder"]),
    "data_empty_flag": ([*_OWN, "--data="], ["--data"]),
    "nonmembers_nowhere": ([*_OWN, "--nonmembers={}/none.csv"], ["none.csv"]),
    "shadow_data_nowhere": ([*_OWN, "--shadow_data={}/none.csv"], ["none.csv"]),
    "images_of_one": ([*_OWN, "--data={}/img/ant"], ["img/ant"]),
    "images_member": ([*_OWN, "--data={}/img", "--member={}/none.txt"], ["none.txt"]),
    "images_broken": ([*_OWN, "--data={}/bad", "--member={}/train.py"], ["bad"]),
    "tfds": ([*_OWN, "--data={}/tfds"], ["tfds"]),
    "npz_columns": ([*_OWN, "--data={}/p.npz"], ["p.npz"]),
}  # fmt: skip
_OWN_WORLD = several(
    train, own(), posteriors(n=30), images,
    text("bad/ant/0.png", "no image"), text("bad/bee/0.png", "no image"),
    text("tfds/dataset_info.json", "{"), text("tfds/features.json", "{"),
)  # fmt: skip
_OWN_DATA = {
    "one_class": ("class", own(y=1)),
    "label_missing": ("own.csv", own(y=[None] * 5 + [0, 1] * 17 + [1])),
    "all_members": ("member", own(member=True)),
    "member_words": ("member", own(member=["yes", "perhaps"] * 20)),
    "no_member": ("member", own(member=None)),
    "two_rows": ("1 of the records are members", own(rows=2)),
    "empty": ("own.csv", text("own.csv", "")),
    "binary": ("own.csv", text("own.csv", bytes(range(256)) * 20)),
    "ragged": ("own.csv", text("own.csv", "a,y,member\n1,0,1\n1,2\n3,4,5,6\n")),
    "twice": ("own.csv", text("own.csv", "a,a,y,member\n" + "1,2,0,1\n3,4,1,0\n" * 5)),
}

AUDIT = Table(
    "audit",
    [
        *(Bad(name, flags, says, posteriors()) for name, (flags, says) in _FLAGS.items()),
        *(Bad(f"file_{name}", [_TARGET], says, build) for name, (says, build) in _FILES.items()),
        *(
            Bad(name, ["--target={}/p.csv"], says, build)
            for name, (says, build) in _TABLES.items()
        ),
        *(
            Bad(f"function_{name}", [flag, *_ASKED], says, _SOURCES)
            for name, (flag, says) in _FUNCTIONS.items()
        ),
        *(
            Bad(f"records_{name}", [_CALL + "fine", *_ASKED], says, build)
            for name, (says, build) in _RECORDS.items()
        ),
        *(Bad(f"own_{name}", flags, says, _OWN_WORLD) for name, (flags, says) in _OWN_FLAGS.items()),
        *(
            Bad(f"data_{name}", _OWN, says, several(train, build))
            for name, (says, build) in _OWN_DATA.items()
        ),
        *endpoints.CASES,
    ],
    ("--out_dir={}/out", "--kernels=xla", "--num_cpu_devices=1"),
)  # fmt: skip
