"""Bad inputs of `jleaks attack` and `jleaks records`: flags, banks and score files."""

import zipfile

import numpy as np

from .case import Bad, Table
from .worlds import (
    K,
    M,
    N,
    bank,
    cut,
    encrypted,
    flipped,
    npy_header,
    npz_bytes,
    parquet,
    phi_scores,
    pickled,
    scores,
    text,
)  # fmt: skip

_FILE = "--signals={}/s.npz"
_NPZ = "s.npz"


def _set(at, value):
    """A change of one element of an array."""

    def change(array):
        array = array.astype(np.result_type(array, np.asarray(value).dtype))
        array[at] = value
        return array

    return change


_FILES = {
    "no_npz": ("is damaged", text(_NPZ, "hello")),
    "empty": ("is damaged", text(_NPZ, "")),
    "npy": ("is damaged", text(_NPZ, b"\x93NUMPY" + b"\0" * 20)),
    "npy_huge": ("damaged", npz_bytes(_NPZ, "logits.npy", npy_header((6, 10**12, 4)))),
    "npy_negative": ("damaged", npz_bytes(_NPZ, "logits.npy", npy_header((-1, 3, 4)))),
    "npy_code": ("damaged", npz_bytes(_NPZ, "logits.npy", b"\x93NUMPY\x01\0\x26\0__import__('os').system('touch pwned')")),
    "text_member": (_NPZ, npz_bytes(_NPZ, "logits.txt", "1 2 3")),
    "traversal_member": (_NPZ, npz_bytes(_NPZ, "../logits.npy", npy_header((1,)) + b"\0" * 4)),
    "no_member": (_NPZ, lambda f: zipfile.ZipFile(f / _NPZ, "w").close()),
    "encrypted": ("damaged", encrypted()),
    "pickle": (_NPZ, pickled()),
    "cut": ("damaged", cut(scores(), _NPZ)),
    "flipped": ("damaged", flipped(scores(), _NPZ, 0.3)),
    "no_logits": ("logits", scores(drop=("logits",))),
    "no_member_array": ("member", scores(drop=("member",))),
    "no_labels": ("labels", scores(drop=("labels",))),
    "nan": ("logits of model 3: record 17 has nan for class 2", scores(logits=_set((3, 17, 2), np.nan))),
    "inf": ("record 17 has inf", scores(logits=_set((3, 17, 2), np.inf))),
    "logits_text": ("logits", scores(logits=lambda a: a.astype(str))),
    "logits_complex": ("logits", scores(logits=lambda a: a.astype(complex))),
    "logits_bool": ("logits", scores(logits=lambda a: a > 0)),
    "logits_dates": ("logits", scores(logits=lambda a: a.astype("datetime64[s]"))),
    "logits_scalar": ("logits", scores(logits=np.float32(1))),
    "logits_2d": ("logits", scores(logits=lambda a: a[..., 0])),
    "logits_5d": ("logits", scores(logits=lambda a: a[None, None])),
    "logits_no_model": (_NPZ, scores(logits=lambda a: a[:0], member=lambda a: a[:0])),
    "logits_no_record": (_NPZ, scores(logits=lambda a: a[:, :0], member=lambda a: a[:, :0], labels=lambda a: a[:0])),
    "logits_no_class": (_NPZ, scores(logits=lambda a: a[..., :0])),
    "one_model": (_NPZ, scores(logits=lambda a: a[:1], member=lambda a: a[:1])),
    "other_records": ("member", scores(member=lambda a: a[:, :-1])),
    "member_2": ("member", scores(member=lambda a: a.astype(int) + 1)),
    "member_half": ("member", scores(member=lambda a: a * 0.5)),
    "member_text": ("member", scores(member=lambda a: np.where(a, "perhaps", "no"))),
    "member_nan": ("member", scores(member=lambda a: np.where(a, np.nan, 0))),
    "member_1d": ("member", scores(member=lambda a: a[0])),
    "member_all": (_NPZ, scores(member=lambda a: a | True)),
    "member_none": (_NPZ, scores(member=lambda a: a & False)),
    "labels_fraction": ("label", scores(labels=lambda a: a + 0.5)),
    "labels_negative": ("label", scores(labels=_set(5, -1))),
    "labels_beyond": ("label", scores(labels=_set(5, K))),
    "labels_2_to_32": ("label", scores(labels=_set(5, 2**32))),
    "labels_2_to_32_phi": ("label", phi_scores(labels=_set(5, 2**32))),
    "labels_2_to_31_phi": ("label", phi_scores(labels=_set(5, 2**31 - 1))),
    "labels_uint64": ("label", scores(labels=lambda a: _set(5, 2**63)(a.astype(np.uint64)))),
    "labels_nan": ("label", scores(labels=_set(5, np.nan))),
    "labels_2d": ("labels", scores(labels=lambda a: a[None])),
    "labels_short": ("59 records", scores(labels=lambda a: a[:-1])),
    "population_text": ("population", scores(population=np.full(N, "x"))),
    "population_all": (_NPZ, scores(population=np.ones(N, bool))),
    "population_short": ("population", scores(population=np.ones(3, bool))),
    "posteriors_sum": ("posteriors", scores(drop=("logits",), posteriors=np.full((M, N, K), 0.9))),
    "posteriors_negative": ("posteriors", scores(drop=("logits",), posteriors=np.full((M, N, K), 0.25) * [-1, 1, 1, 3])),
    "phi_nan": ("phi", phi_scores(phi=np.full((M, N), np.nan, np.float32))),
    "phi_text": ("phi", phi_scores(phi=np.full((M, N), "1"))),
    "phi_3_shapes": ("phi", phi_scores(phi=np.zeros((2, 2, M, N), np.float32))),
    "mentr_shape": ("mentr", phi_scores(mentr=np.zeros((M, N + 1), np.float32))),
    "mentr_text": ("mentr", phi_scores(mentr=np.full((M, N), "x"))),
    "bank_labels_float": ("labels", bank(labels=np.full(N, 0.5))),
    "bank_twins_text": ("twins", bank({"twins": "no"})),
    "bank_classes_text": ("num_classes", bank({"num_classes": "four"})),
    "bank_classes_bool": ("num_classes", bank({"num_classes": True})),
    "bank_source": ("source", bank({"source": ["real"]})),
    "bank_task_list": ("task", bank({"task": ["a", "b"]})),
    "bank_plan_text": ("plan", bank({"plan": "mine"})),
    "bank_seconds_null": ("seconds", bank({"seconds": None})),
    "bank_no_phi": ("phi", bank(drop=("phi",))),
    "bank_phi_shape": ("phi", bank(phi=np.zeros((M, N), np.float32))),
    "bank_phi_text": ("phi", bank(phi=np.full((1, M, N), "x"))),
    "bank_phi_nan": ("phi", bank(phi=np.full((1, M, N), np.nan, np.float32))),
    "bank_correct": ("correct", bank(correct=np.full((1, M, N), 7))),
    "bank_labels_beyond": ("label", bank(labels=np.full(N, 9, np.int32))),
    "meta_no_json": (_NPZ, scores(meta=np.array("{"), drop=("logits",))),
}  # fmt: skip
_PARQUET = {
    "no_parquet": ("s.parquet", text("s.parquet", "hello")),
    "cut": ("s.parquet", cut(parquet(), "s.parquet", 0.7)),
    "no_phi": ("phi", parquet(phi=None)),
    "no_model": ("model", parquet(model=None)),
    "phi_text": ("phi", parquet(phi="many")),
    "phi_list": ("phi", parquet(phi=lambda f: [[1.0]] * len(f))),
    "member_text": ("member", parquet(member="perhaps")),
    "member_missing": ("member", parquet(member=None)),
    "population_text": ("population", parquet(population="some")),
    "twice": ("record", parquet(record=0)),
    "logits_ragged": ("logits", parquet(phi=None, logits=lambda f: [[1.0] * (1 + i % 2) for i in range(len(f))])),
    "label_differs": ("label", parquet(label=lambda f: f["model"])),
}  # fmt: skip
_FLAGS = {
    "no_signals": ([], ["--signals names the files"]),
    "nowhere": (["--signals=nowhere.npz"], ["nowhere.npz does not exist"]),
    "folder": (["--signals={}"], ["case is neither .npz nor .parquet"]),
    "suffix": (["--signals={}/s.mat"], ["s.mat"]),
    "attack": ([_FILE, "--attacks=lirra"], ["unknown attack 'lirra'", "lira_online"]),
    "no_attack": ([_FILE, "--attacks="], ["attack"]),
    "compare": ([_FILE, "--compare=x"], ["unknown attack 'x'"]),
    "audit": ([_FILE, "--audit=x"], ["unknown attack 'x'"]),
    "delta_1": ([_FILE, "--delta=1"], ["--delta is 1"]),
    "delta_nan": ([_FILE, "--delta=nan"], ["--delta is nan"]),
    "temperature_negative": ([_FILE, "--temperature=-1"], ["temperature is -1"]),
    "temperature_tiny": ([_FILE, "--temperature=1e-300"], ["temperature is 1e-300"]),
    "temperature_nan": ([_FILE, "--temperature=nan"], ["temperature is nan"]),
    "gamma": ([_FILE, "--gamma=-2"], ["gamma is -2"]),
    "offline_a": ([_FILE, "--offline_a=2"], ["offline_a is 2"]),
    "base_scale": ([_FILE, "--base_scale=-1"], ["base_scale is -1"]),
    "references_0": ([_FILE, "--num_references=0"], ["0 references were asked for", "up to 5"]),
    "references_many": (
        [_FILE, "--num_references=500"],
        ["500 references were asked for", "up to 5"],
    ),
    "block_0": ([_FILE, "--records_per_block=0"], ["records_per_block"]),
    "devices": ([_FILE, "--num_devices=77"], ["num_devices is 77"]),
    "usage_text": ([_FILE, "--usage=half"], ["--usage is half, expected numbers from 0 to 1"]),
    "usage_beyond": ([_FILE, "--usage=0.5,2"], ["--usage is 0.5,2"]),
    "out_is_a_file": ([_FILE, "--out_dir={}/s.npz", "--attacks=loss"], ["s.npz"]),
    "out_empty": ([_FILE, "--out_dir="], ["--out_dir"]),
}

ATTACK = Table(
    "attack",
    [
        *(Bad(name, flags, says, scores()) for name, (flags, says) in _FLAGS.items()),
        *(Bad(f"file_{name}", [_FILE], says, build) for name, (says, build) in _FILES.items()),
        *(
            Bad(f"parquet_{name}", ["--signals={}/s.parquet"], says, build)
            for name, (says, build) in _PARQUET.items()
        ),
    ],
    # What is accepted by mistake shall be over soon.
    ("--out_dir={}/out", "--attacks=loss", "--compare=", "--audit="),
)

_BANK = "--bank={}/s.npz"
RECORDS = Table(
    "records",
    [
        Bad("no_bank", [], "--bank names the file"),
        Bad("nowhere", ["--bank=none.npz"], "none.npz does not exist"),
        Bad("fprs", [_BANK, "--fprs=0.1,2"], "--fprs is 0.1,2, expected numbers strictly", scores()),
        Bad("fprs_text", [_BANK, "--fprs=low"], "--fprs is low", scores()),
        Bad("fprs_none", [_BANK, "--fprs="], "--fprs", scores()),
        Bad("fprs_nan", [_BANK, "--fprs=nan"], "--fprs is nan", scores()),
        Bad("attack", [_BANK, "--attacks=los"], "unknown attack 'los'", scores()),
        Bad("no_attack", [_BANK, "--attacks="], "attack", scores()),
        Bad("confidence_1", [_BANK, "--confidence=1"], "confidence 1.0; expected", scores()),
        Bad("confidence_nan", [_BANK, "--confidence=nan"], "confidence nan; expected", scores()),
        Bad("block_0", [_BANK, "--records_per_block=0"], "records_per_block", scores()),
        Bad("temperature", [_BANK, "--temperature=0"], "temperature is 0", scores()),
        Bad("cut", [_BANK], "damaged", cut(bank(), _NPZ)),
        Bad("bank_nan", [_BANK], "phi", bank(phi=np.full((1, M, N), np.nan, np.float32))),
        Bad("bank_huge", [_BANK], "damaged", npz_bytes(_NPZ, "phi.npy", npy_header((1, 6, 10**13)))),
        Bad("bank_twins", [_BANK], "twins", bank({"twins": "no"})),
        Bad("pickle", [_BANK], _NPZ, pickled()),
        Bad("one_model", [_BANK], _NPZ, scores(logits=lambda a: a[:1], member=lambda a: a[:1])),
        Bad("stray", [_BANK, "more"], "not a flag: more", scores()),
    ],
    ("--out_dir={}/out",),
)  # fmt: skip
