"""Bad inputs of the commands that read results: `jleaks gate`, `report`, `status`, `cells` and `gather`."""

import json

from .case import Bad, Table
from .worlds import audited, cut, several, text

_AUDIT = "--audit={}/audit"


def _policy(content):
    return several(audited(), text("p.toml", content))


GATE = Table(
    "gate",
    [
        Bad("nowhere", ["--audit={}/none"], "cannot read"),
        Bad("policy_nowhere", ["--policy=none.toml", _AUDIT], "cannot read none.toml", audited()),
        Bad("two", [_AUDIT, "one", "two"], "not a flag", audited()),
        Bad("audit_empty", ["--audit="], "--audit", audited()),
        Bad("baseline_alone", [_AUDIT, "--baseline={}/audit"], "has no [regression]", audited()),
        *(
            Bad(f"audit_{name}", [_AUDIT], "audit.json", text("audit/audit.json", content))
            for name, content in {
                "empty": "", "list": "[]", "text": "no", "brackets": "[" * 100_000, "null": "null",
                "level": '{"level": 7}', "nothing": "{}", "number": "3", "latin": b'{"level": "\xff"}',
            }.items()
        ),
        *(
            Bad(f"policy_{name}", [_AUDIT, "--policy={}/p.toml"], ["p.toml", said], _policy(content))
            for name, (said, content) in {
                "no_toml": ("TOML", "limits"),
                "latin": ("TOML", b"\xff"),
                "table": ("unknown table more", "[more]\nauc = 1"),
                "no_table": ("limits is 3", "limits = 3"),
                "limit": ("aucc", "[limits]\naucc = 0.5"),
                "text": ("auc", '[limits]\nauc = "low"'),
                "nan": ("auc", "[limits]\nauc = nan"),
                "bool": ("auc", "[limits]\nauc = true"),
                "level": ("level", '[limits]\nlevel = "huge"'),
                "level_number": ("level", "[limits]\nlevel = 2"),
                "regression": ("regression", "[regression]\nsize = 1"),
                "nothing": ("", ""),
            }.items()
        ),
    ],
)  # fmt: skip

_RUN = "--run={}/run"
_ROW = '{"task": "location", "attack": "attack model", "adversary": 1, "seed": 0, "auc": 0.5}\n'

REPORT = Table(
    "report",
    [
        Bad("nothing", [], "--run names the folder of a run"),
        Bad("empty_flag", ["--run="], "--run"),
        Bad("nowhere", ["--run={}/none"], "none"),
        Bad("two", [_RUN, "a", "b"], "not a flag"),
        Bad("no_rows", [_RUN], "run", text("run/other", "")),
        *(
            Bad(f"rows_{name}", [_RUN], "rows.jsonl", text("run/rows.jsonl", content))
            for name, content in {
                "empty": "", "text": "hello\n", "list": "[]\n", "cut": _ROW[:-10], "latin": b"\xff\n",
                "brackets": "[" * 100_000 + "\n", "number": "3\n", "other": '{"a": 1}\n',
                "task_number": _ROW.replace('"location"', "3"),
                "auc_text": _ROW.replace("0.5", '"high"'),
                "auc_list": _ROW.replace("0.5", "[0.5]"),
                "seed_text": _ROW.replace('"seed": 0', '"seed": "one"'),
                "seed_list": _ROW.replace('"seed": 0', '"seed": [1]'),
                "attack_null": _ROW.replace('"attack model"', "null"),
                "nan": _ROW.replace("0.5", "NaN"),
            }.items()
        ),
        *(
            Bad(f"audit_{name}", [_RUN], "audit.json", text("run/audit.json", content))
            for name, content in {"empty": "", "list": "[]", "nothing": "{}", "brackets": "[" * 100_000}.items()
        ),
    ],
)  # fmt: skip

STATUS = Table(
    "status",
    [
        Bad("nothing", [], "--run names the directory of a run"),
        Bad("empty_flag", ["--run="], "--run"),
        Bad("nowhere", ["--run={}/none"], "none is no directory"),
        Bad("file", ["--run={}/run"], "run is no directory", text("run", "")),
        Bad("folder", [_RUN], "has nothing of a run", text("run/other", "")),
        Bad("list", [_RUN], "has nothing of a run", text("run/plan.json", "[]")),
        Bad("brackets", [_RUN], "has nothing of a run", text("run/plan.json", "[" * 100_000)),
        Bad("beat_list", [_RUN], "has nothing of a run", text("run/progress.json", "[]")),
        Bad(
            "beat_brackets",
            [_RUN],
            "has nothing of a run",
            text("run/progress.json", "[" * 100_000),
        ),
        Bad("two", [_RUN, "a", "b"], "not a flag"),
    ],
)

_GRID = "--grid=epochs=1,2"
CELLS = Table(
    "cells",
    [
        Bad("no_command", [_GRID], "cells run no command, expected one of sweep"),
        Bad("no_grid", [], "has no cells.json: jleaks cells --grid=... writes it"),
        Bad("shard_2", [_GRID, "--shard=2/2", "--", "sweep"], "--shard is '2/2', expected"),
        Bad("shard_text", [_GRID, "--shard=first", "--", "sweep"], "--shard is 'first', expected"),
        Bad("shard_0", [_GRID, "--shard=0/0", "--", "sweep"], "--shard is '0/0', expected"),
        Bad("shard_negative", [_GRID, "--shard=-1/2", "--", "sweep"], "--shard is '-1/2', expected"),
        Bad("shard_squared", [_GRID, "--shard=\u00b2/3", "--", "sweep"], "--shard is '\u00b2/3', expected"),
        Bad("shard_digits", [_GRID, f"--shard=0/{'9' * 5000}", "--", "sweep"], "--shard is '0/999"),
        Bad("bare", [_GRID, "sweep"], "not a flag: sweep"),
        Bad("command", [_GRID, "--", "serve"], "serve"),
        Bad("grid_text", ["--grid=epochs", "--", "sweep"], "--grid has 'epochs'"),
        Bad("grid_empty_value", ["--grid=epochs=1,,2", "--", "sweep"], "--grid has"),
        Bad("grid_twice", ["--grid=epochs=1;epochs=2", "--", "sweep"], "epochs"),
        Bad("grid_workdir", ["--grid=workdir=a,b", "--", "sweep"], "workdir"),
        Bad("grid_traversal", ["--grid=epochs=../../evil", "--", "sweep"], "../../evil"),
        Bad("grid_same_value", ["--grid=epochs=1,1", "--", "sweep"], "epochs"),
        Bad("root_empty", ["--root=", _GRID, "--", "sweep"], "--root"),
        Bad("root_file", ["--root={}/file", _GRID, "--", "sweep"], "file", text("file", "")),
        *(
            Bad(f"kept_{name}", ["--shard=0/1"], "cells.json", text("out/cells.json", content))
            for name, content in {
                "empty": "", "list": "[]", "nothing": "{}", "brackets": "[" * 100_000,
                "values": json.dumps({"values": {"epochs": "1"}, "words": ["sweep"]}),
                "words": json.dumps({"values": {"epochs": ["1"]}, "words": "sweep"}),
                "numbers": json.dumps({"values": {"epochs": [1]}, "words": ["sweep"]}),
                "command": json.dumps({"values": {"epochs": ["1"]}, "words": ["serve"]}),
                "traversal": json.dumps({"values": {"epochs": ["../../../evil"]}, "words": ["sweep"]}),
            }.items()
        ),
    ],
    ("--root={}/out",),
)  # fmt: skip

_KEPT = text("out/cells.json", json.dumps({"values": {"epochs": ["1"]}, "words": ["sweep"]}))
GATHER = Table(
    "gather",
    [
        Bad("nowhere", ["--root={}/none"], "none"),
        Bad("root_empty", ["--root="], "--root"),
        Bad("two", ["--root={}/out", "a", "b"], "not a flag"),
        Bad("none", ["--root={}/out"], "none of the 1 cells", _KEPT),
        Bad("rows_text", ["--root={}/out"], "rows.jsonl", several(_KEPT, text("out/epochs=1/rows.jsonl", "x"))),
        Bad("rows_list", ["--root={}/out"], "rows.jsonl", several(_KEPT, text("out/epochs=1/rows.jsonl", "[]"))),
        Bad("rows_cut", ["--root={}/out"], "rows.jsonl", several(_KEPT, cut(text("out/epochs=1/rows.jsonl", _ROW), "out/epochs=1/rows.jsonl"))),
        Bad("kept_list", ["--root={}/out"], "cells.json", text("out/cells.json", "[]")),
    ],
)  # fmt: skip
