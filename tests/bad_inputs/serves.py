"""Bad inputs of `jleaks serve`: work directories that are none, models that they do not have."""

import json

from .case import Bad, Table
from .worlds import text

_PLANS = {
    "list": "[]",
    "text": "hello",
    "null": '{"plan": null}',
    "brackets": "[" * 100_000,
    "kind": json.dumps({"format": 2, "fingerprint": "x", "plan": {"kind": "none"}}),
}

SERVE = Table(
    "serve",
    [
        Bad("no_task", [], "--task names the task"),
        Bad("no_run", ["--task=location"], "has no plan.json"),
        Bad("plan_nothing", ["--task=location"], "plan.json", text("out/plan.json", "{}")),
        Bad("seed_negative", ["--task=location", "--seed=-1"], "seed"),
        Bad("seed_2_to_32", ["--task=location", "--seed=4294967296"], "seed"),
        Bad("role", ["--task=location", "--role=spy"], "role"),
        Bad("index", ["--task=location", "--index=-1"], "index"),
        Bad("port", ["--task=location", "--port=65536"], "port"),
        Bad("port_text", ["--task=location", "--port=http"], "port"),
        Bad("most_records_0", ["--task=location", "--most_records=0"], "most_records"),
        Bad("block_0", ["--task=location", "--records_per_block=0"], "records_per_block"),
        Bad("workdir_empty", ["--task=location", "--workdir="], "--workdir"),
        Bad("workdir_file", ["--task=location", "--workdir={}/file"], "file", text("file", "")),
        Bad("network", ["--task=location", "--network={}/none.py:N"], "none.py"),
        Bad("label_alone", ["--task=location", "--label=y"], "--label says something of --data"),
        Bad("stray", ["--task=location", "more"], "not a flag: more"),
        *(
            Bad(f"plan_{name}", ["--task=location"], "plan.json", text("out/plan.json", content))
            for name, content in _PLANS.items()
        ),
    ],
    ("--workdir={}/out", "--port=0"),
)
