"""Every reader of files, given files changed at random: what they hold, or one line.

Valid files are changed byte by byte, cut, and grown; and files are made whose form is right and whose
contents are anything.
"""

import json
import resource

import numpy as np
import pytest
from bad_inputs import worlds
from fuzz.lines import one_line
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from jleaks import heartbeat, json_lines, npz
from jleaks.attacks import score_files
from jleaks.auditing import files as own_files
from jleaks.auditing import policy
from jleaks.blackbox import client, files
from jleaks.blackbox.about import read_about
from jleaks.blackbox.protocol import find_protocol
from jleaks.data import own
from jleaks.data.sources import adult, archive, binary_rows
from jleaks.experiments import cells
from jleaks.experiments.kept import kept_model
from jleaks.outcome import Outcome
from jleaks.rows import read_rows

# No mutated file of a few kilobytes makes a process larger by more.
_MOST_KILOBYTES = 1_000_000
_ROW = '{"task": "location", "attack": "attack model", "adversary": 1, "seed": 0, "auc": 0.5}\n'
_GRID = json.dumps({"values": {"epochs": ["1", "2"]}, "words": ["sweep", "--tasks=location"]})
_PLAN = json.dumps({"fingerprint": "0" * 16, "format": 2, "plan": {"tasks": ["location"]}})
_MAPPING = '[request]\npath = "/predict"\nbody = "$records"\nanswers = "p"\n'


def _members(path):
    return archive.read_members(path, lambda name: name == "bangkok")


def _adult(path):
    return [
        adult._parse(line, str(path)) for line in path.read_text("utf-8", "replace").splitlines()
    ]


# By name: the file, who writes a valid one there, and who reads it.
READERS = {
    "score file": ("s.npz", worlds.scores("s.npz"), score_files.read),
    "phi": ("s.npz", worlds.phi_scores(), score_files.read),
    "bank": ("s.npz", worlds.bank(), score_files.read),
    "bank on disk": ("s.npz", worlds.bank(), lambda path: score_files.read(path, on_disk=True)),
    "npz of ours": ("s.npz", worlds.bank(), lambda path: npz.load(path, "delete it")),
    "score parquet": ("s.parquet", worlds.parquet(), score_files.read),
    "posteriors": ("p.npz", worlds.posteriors(), files.read),
    "posteriors csv": (
        "p.csv",
        worlds.text("p.csv", "p0,p1,member,label\n" + "0.25,0.75,1,0\n0.5,0.5,0,1\n" * 20),
        files.read,
    ),
    "records to ask about": ("r.npz", worlds.records(), files.read_records),
    "own csv": ("own.csv", worlds.own(rows=60), lambda path: own.read("own", path, label="y")),
    "audited csv": ("own.csv", worlds.own(rows=60), own_files.read),
    "policy": ("p.toml", worlds.text("p.toml", "[limits]\nauc = 0.6\n"), policy.read_policy),
    "audit": ("audit.json", worlds.text("audit.json", '{"level": "weak"}'), policy.read_audit),
    "rows": ("rows.jsonl", worlds.text("rows.jsonl", _ROW * 3), read_rows),
    "packed rows": ("rows.jsonl.gz", worlds.packed("rows.jsonl.gz", _ROW * 3), json_lines.read),
    "grid": ("cells.json", worlds.text("cells.json", _GRID), lambda path: cells.read(path.parent)),
    "plan": (
        "plan.json",
        worlds.text("plan.json", _PLAN),
        lambda path: kept_model(str(path.parent), "location", 0, "target"),
    ),
    "heartbeat": (
        "progress.json",
        worlds.text("progress.json", '{"at": 1.0, "began": 0.0, "pid": 3, "ended": "finished"}'),
        lambda path: heartbeat.read(path.parent),
    ),
    "finished": (
        "finished.json",
        worlds.text("finished.json", '{"file": "rows.jsonl", "bytes": 3}'),
        lambda path: Outcome(path.with_name("rows.jsonl"), "x").finished(),
    ),
    "mapping": ("m.toml", worlds.text("m.toml", _MAPPING), lambda path: find_protocol(str(path))),
    "headers": ("h.txt", worlds.text("h.txt", "X-API-Key: abc\n# none\n"), client.read_headers),
    "location": ("raw/dataset_location.tgz", worlds.location, _members),
    "idx": ("raw/train-images-idx3-ubyte.gz", worlds.mnist, archive.read_whole),
    "adult": ("raw/adult.data", worlds.adult(), _adult),
    "bits": (
        "bangkok",
        worlds.text("bangkok", '"1",0,1,1\n"2",1,0,0\n' * 5),
        lambda path: binary_rows.parse_rows(path.read_bytes(), "bangkok", 3, 30),
    ),
}  # fmt: skip


@st.composite
def changes(draw):
    """Changes of a file's bytes, wherever it has so many: bytes by place, an insertion, a cut."""
    place = st.floats(0, 1, exclude_max=True)
    edits = draw(st.lists(st.tuples(place, st.integers(0, 255)), max_size=6))
    inserted = draw(st.tuples(place, st.binary(max_size=12)))
    cut = draw(st.just(1.0) | place)

    def change(content):
        changed = bytearray(content)
        for at, byte in edits if content else ():
            changed[int(at * len(changed))] = byte
        at = int(inserted[0] * len(changed))
        changed[at:at] = inserted[1]
        return bytes(changed[: int(cut * len(changed)) if cut < 1 else None])

    return change


def reads(read, path):
    """Reads a file, or is told in one line why not."""
    with one_line():
        read(path)


@pytest.fixture(params=READERS, scope="module")
def reader(request, tmp_path_factory):
    """A valid file, and its reader."""
    name, build, read = READERS[request.param]
    folder = tmp_path_factory.mktemp("fuzz")
    build(folder)
    return folder / name, (folder / name).read_bytes(), read


def test_changed_files(reader):
    path, content, read = reader
    # As it is, it is read, or refused for what lies beside it.
    reads(read, path)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

    @given(changes())
    def changed(change):
        path.write_bytes(change(content))
        reads(read, path)

    changed()
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < _MOST_KILOBYTES


_KINDS = st.sampled_from(
    ["?", "i1", "u1", "i4", "i8", "u8", "f2", "f4", "f8", "c8", "U3", "S2", "M8[s]"]
)
_SHAPES = arrays.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4)
_ANY = _KINDS.flatmap(lambda kind: arrays.arrays(np.dtype(kind), _SHAPES))


def npz_of(*names):
    """Arrays of any type and shape, under names that a reader knows."""
    return st.fixed_dictionaries({}, optional=dict.fromkeys(names, _ANY))


@pytest.mark.parametrize(
    ("read", "names"),
    [
        pytest.param(
            score_files.read,
            ("logits", "posteriors", "phi", "member", "labels", "population", "mentr", "correct"),
            id="scores",
        ),
        pytest.param(files.read, ("posteriors", "member", "label", "role"), id="posteriors"),
        pytest.param(files.read_records, ("records", "member", "label"), id="records"),
        pytest.param(own_files.read, ("x", "y", "member"), id="audited"),
        pytest.param(lambda path: own.read("own", path), ("x", "y"), id="own"),
    ],
)  # fmt: skip
def test_arrays_of_any_kind(tmp_path, read, names):
    @given(npz_of(*names))
    def anything(found):
        np.savez(tmp_path / "s.npz", **found)
        reads(read, tmp_path / "s.npz")

    anything()


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(
        st.sampled_from(
            ["task", "attack", "seed", "auc", "values", "words", "plan", "fingerprint", "format", "level",
             "tasks", "parts", "num_classes", "shape", "dtype", "most_records", "at", "ended", "epochs"]
        ),
        inner,
        max_size=5,
    ),
    max_leaves=12,
)  # fmt: skip


@pytest.mark.parametrize("name", ["rows", "grid", "plan", "heartbeat", "finished", "audit"])
def test_json_of_any_kind(tmp_path, name):
    file, _, read = READERS[name]

    @given(_JSON)
    def anything(value):
        (tmp_path / file).write_text(json.dumps(value))
        reads(read, tmp_path / file)

    anything()


@given(_JSON)
def test_what_an_endpoint_says_of_itself(value):
    reads(lambda found: read_about(found, "http://x/about"), value)


@pytest.mark.parametrize("name", ["posteriors csv", "audited csv", "own csv", "policy", "headers"])
def test_text_of_any_kind(tmp_path, name):
    file, _, read = READERS[name]
    alphabet = st.sampled_from(
        [*"0123456789.,;\n\r\t\"'-+eEpPny =[]{}:#\0", "nan", "inf", "p0,p1", "é", "²", "٣"]
    )

    @given(st.lists(alphabet, max_size=60).map("".join))
    def anything(text):
        (tmp_path / file).write_text(text)
        reads(read, tmp_path / file)

    anything()
