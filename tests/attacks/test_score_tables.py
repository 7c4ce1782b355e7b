"""Score files in parquet: what npz gives, and what cannot be used."""

import numpy as np
import pytest
from scipy.special import log_softmax
from score_arrays import M, N, read

from jleaks.attacks import score_files
from jleaks.errors import InputError

pyarrow = pytest.importorskip("pyarrow")
parquet = pytest.importorskip("pyarrow.parquet")


def columns(truth, **values):
    """Rows of a parquet file, shuffled."""
    order = np.random.default_rng(3).permutation(M * N)
    model, record = (i.ravel()[order] for i in np.indices((M, N)))
    found = {
        "model": model,
        "record": record,
        "label": truth["labels"][record],
        "member": truth["member"][model, record],
    }
    return found | {name: list(value[model, record]) for name, value in values.items()}


@pytest.mark.parametrize("name", ["phi", "logits", "posteriors"])
def test_parquet_gives_what_npz_gives(tmp_path, truth, logits, name):
    value = {
        "phi": logits[..., 0],
        "logits": logits,
        "posteriors": np.exp(log_softmax(logits, axis=-1)),
    }[name]
    table = columns(truth, **{name: value})
    table["member"] = table["member"].astype(str)
    parquet.write_table(pyarrow.table(table), tmp_path / "s.parquet")
    found, wanted = (
        score_files.read(tmp_path / "s.parquet"),
        read(tmp_path, **{name: value}, **truth),
    )
    for field in ("phi", "member", "labels", "phi_t", "correct"):
        np.testing.assert_array_equal(getattr(found, field), getattr(wanted, field), err_msg=field)


def test_tables_of_names(tmp_path, truth, rng):
    table = columns(truth, phi=rng.normal(size=(M, N)))
    names = np.array(["ant", "bee", "cow", "dog", "elk"])
    table["label"] = pyarrow.array(names[table["label"]]).dictionary_encode()
    table["note"] = pyarrow.array([None] * (M * N))
    parquet.write_table(pyarrow.table(table), tmp_path / "s.parquet")
    bank = score_files.read(tmp_path / "s.parquet")
    np.testing.assert_array_equal(bank.labels, truth["labels"])
    assert "not used: note" in bank.meta["notes"][0]


@pytest.mark.parametrize(
    ("name", "change", "words"),
    [
        ("label", lambda c: [None, *c[1:]], "column label has 1 empty cells, the first in row 0"),
        ("label", lambda c: c.astype(str) + "?", "label in row .* is not what another row says"),
        ("member", lambda c: [*c[:-1], None], f"column member has 1 empty .* row {M * N - 1}"),
        ("member", lambda c: np.full(len(c), "yes"), "row 0 has member yes"),
        ("phi", lambda c: np.array(c).astype(str), "phi is <U.*, expected numbers"),
        ("phi", lambda c: [[[x]] for x in c], "phi is list<.*, expected lists of numbers"),
        ("phi", lambda c: [None, *c[1:]], "column phi has 1 empty cells"),
        ("phi", lambda c: pyarrow.array(np.zeros(len(c), "M8[s]")), "column phi is timestamp"),
    ],
)
def test_tables_that_cannot_be_used(tmp_path, truth, rng, name, change, words):
    table = columns(truth, phi=rng.normal(size=(M, N)))
    table[name] = change(table[name])
    if words.startswith("label in row"):
        # One record of two names.
        table[name] = np.where(np.arange(M * N) == 5, "other", table[name])
    parquet.write_table(pyarrow.table(table), tmp_path / "s.parquet")
    with pytest.raises(InputError, match=words) as caught:
        score_files.read(tmp_path / "s.parquet")
    assert "s.parquet" in str(caught.value)


def test_lists_of_unequal_lengths_and_with_gaps(tmp_path, truth, logits):
    for change, words in [
        (lambda row: row[:-1], r"logits has a list of 4 in row 7, of 5 in row 0"),
        (lambda row: [None, *row[1:]], "column logits has 1 empty cells, the first in row 7"),
    ]:
        table = columns(truth, logits=logits)
        table["logits"] = [row.tolist() for row in table["logits"]]
        table["logits"][7] = change(table["logits"][7])
        parquet.write_table(pyarrow.table(table), tmp_path / "s.parquet")
        with pytest.raises(InputError, match=words):
            score_files.read(tmp_path / "s.parquet")
