"""What commands find: builders of files, each a function of the case's folder."""

import gzip
import io
import json
import struct
import tarfile
import zipfile

import numpy as np
from raw_files import write_adult, write_location, write_mnist, write_tar

M, N, K = 6, 60, 4


def text(name, content):
    """One file of a text (or of bytes)."""

    def build(folder):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())

    return build


def several(*builders):
    """What several builders write."""

    def build(folder):
        for one in builders:
            one(folder)

    return build


def scores(name="s.npz", drop=(), **changes):
    """A score file that is fine but for some arrays; a callable changes the one that is fine."""

    def build(folder):
        rng = np.random.default_rng(0)
        arrays = {
            "logits": rng.normal(size=(M, N, K)).astype(np.float32),
            "member": rng.integers(0, 2, (M, N)).astype(bool),
            "labels": rng.integers(0, K, N),
        }
        for key, value in changes.items():
            arrays[key] = value(arrays.get(key)) if callable(value) else value
        np.savez(folder / name, **{k: v for k, v in arrays.items() if k not in drop})

    return build


def phi_scores(**changes):
    """A score file with phi in place of logits."""
    phi = np.random.default_rng(1).normal(size=(M, N)).astype(np.float32)
    return scores(drop=("logits",), **{"phi": phi, **changes})


def bank(meta=None, drop=(), **changes):
    """A bank's own file that is fine but for its description, or some arrays."""
    rng = np.random.default_rng(0)
    phi = rng.normal(size=(1, M, N)).astype(np.float32)
    arrays = {
        "member": rng.integers(0, 2, (M, N)).astype(bool),
        "labels": rng.integers(0, K, N).astype(np.int32),
        "population": np.zeros(N, bool),
        "phi": phi,
        "correct": phi > 0,
        **changes,
    }
    described = {"num_classes": K, "twins": False, "task": "toy", "source": "synthetic"}
    described.update(meta or {})

    def build(folder):
        kept = {key: value for key, value in arrays.items() if key not in drop}
        np.savez(folder / "s.npz", meta=np.array(json.dumps(described)), **kept)

    return build


def parquet(name="s.parquet", **changes):
    """A score file in parquet that is fine but for some columns."""

    def build(folder):
        import pandas as pd

        frame = pd.DataFrame(
            {
                "model": np.repeat(np.arange(M), N),
                "record": np.tile(np.arange(N), M),
                "label": np.tile(np.arange(N) % K, M),
                "member": np.random.default_rng(0).integers(0, 2, M * N),
                "phi": np.random.default_rng(1).normal(size=M * N),
            }
        )
        for key, value in changes.items():
            if value is None:
                frame = frame.drop(columns=[key])
            else:
                frame[key] = value(frame) if callable(value) else value
        frame.to_parquet(folder / name)

    return build


def npz_bytes(name, member, content, compression=zipfile.ZIP_STORED):
    """A zip file under an npz's name, with one member of any content."""

    def build(folder):
        with zipfile.ZipFile(folder / name, "w", compression) as archive:
            archive.writestr(member, content)

    return build


def npy_header(shape, dtype="<f4"):
    """The beginning of an npy file that promises a shape."""
    out = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        out, {"descr": dtype, "fortran_order": False, "shape": shape}
    )
    return out.getvalue()


def pickled(name="s.npz"):
    """An npz that runs code if it is unpickled."""
    return npz_bytes(
        name, "logits.npy", npy_header((1,), "|O") + b"cos\nsystem\n(S'touch pwned'\ntR."
    )


def cut(build, name, part=0.5):
    """What a builder writes, one of its files cut short."""

    def shorter(folder):
        build(folder)
        path = folder / name
        content = path.read_bytes()
        path.write_bytes(content[: int(len(content) * part)])

    return shorter


def flipped(build, name, at=0.5):
    """What a builder writes, one byte of one of its files turned over."""

    def changed(folder):
        build(folder)
        path = folder / name
        content = bytearray(path.read_bytes())
        content[int(len(content) * at)] ^= 0xFF
        path.write_bytes(content)

    return changed


def encrypted(name="s.npz"):
    """An npz whose member says that it is encrypted."""

    def build(folder):
        npz_bytes(name, "logits.npy", npy_header((2,)) + b"\0" * 8)(folder)
        content = bytearray((folder / name).read_bytes())
        # The general purpose flags of both headers.
        content[6] |= 1
        central = content.index(b"PK\x01\x02")
        content[central + 8] |= 1
        (folder / name).write_bytes(content)

    return build


def posteriors(name="p.npz", n=40, k=3, drop=(), **changes):
    """A file of posteriors, member and label that is fine but for some arrays."""

    def build(folder):
        rng = np.random.default_rng(2)
        arrays = {
            "posteriors": rng.dirichlet(np.ones(k), n),
            "member": np.arange(n) % 2 == 0,
            "label": np.arange(n) % k,
        }
        for key, value in changes.items():
            arrays[key] = value(arrays.get(key)) if callable(value) else value
        np.savez(folder / name, **{key: v for key, v in arrays.items() if key not in drop})

    return build


def records(name="r.npz", **changes):
    """A file of records to ask about that is fine but for some arrays."""

    def build(folder):
        arrays = {
            "records": np.arange(80, dtype=np.uint8).reshape(20, 4),
            "member": np.arange(20) % 2 == 0,
            "label": np.arange(20) % 3,
            **changes,
        }
        np.savez(folder / name, **{key: v for key, v in arrays.items() if v is not None})

    return build


def own(name="own.csv", rows=40, **changes):
    """A table of one's own records; a change of None leaves a column out."""

    def build(folder):
        import pandas as pd

        rng = np.random.default_rng(3)
        columns = {
            "a": rng.normal(size=rows),
            "b": rng.normal(size=rows),
            "y": np.arange(rows) % 2,
            "member": np.arange(rows) < rows // 2,
            **changes,
        }
        pd.DataFrame({k: v for k, v in columns.items() if v is not None}).to_csv(
            folder / name, index=False
        )

    return build


TRAIN = """
import numpy as np

def fit(records, labels):
    return np.bincount(labels, minlength=2) / len(labels)

def predict(model, records):
    return np.tile(model, (len(records), 1))

def broken(records, labels):
    raise RuntimeError("no luck\\nat all")

def short(model, records):
    return np.ones((1, 2)) / 2

def words(model, records):
    return "certainly"

def nan(model, records):
    return np.full((len(records), 2), np.nan)

def leaves(records, labels):
    raise SystemExit(0)

def raises(records):
    raise ValueError("not today")

def fine(records):
    return np.full((len(records), 3), 1 / 3)

number = 3
"""
train = text("train.py", TRAIN)


def images(folder):
    """A folder of images of two classes."""
    from PIL import Image

    for kind in ("ant", "bee"):
        (folder / "img" / kind).mkdir(parents=True)
        for i in range(6):
            Image.new("RGB", (8, 8), (40 * i, 9, 9)).save(folder / "img" / kind / f"{i}.png")


# Official files of datasets, as `jleaks prepare --raw_dir` finds them.


def location(folder):
    """Location's archive."""
    write_location(folder / "raw", np.random.default_rng(0), 600)


def mnist(folder):
    """MNIST's four files."""
    write_mnist(folder / "raw", np.random.default_rng(0))


def adult(data="", test=""):
    """Adult's two files, some of them other than they are."""

    def build(folder):
        changed = {key: value for key, value in (("data", data), ("test", test)) if value}
        write_adult(folder / "raw", **changed)

    return build


def tar(name, files, extra=()):
    """An archive with members of any kind."""

    def build(folder):
        write_tar(folder / "raw" / name, files, extra)

    return build


def member(name, kind=tarfile.REGTYPE, size=0, link=""):
    """A member of an archive: its header alone."""
    info = tarfile.TarInfo(name)
    info.type, info.size, info.linkname = kind, size, link
    return info


def gzip_idx(name, content, then=mnist):
    """MNIST's files, one of them with another content, compressed."""

    def build(folder):
        then(folder)
        (folder / "raw" / name).write_bytes(gzip.compress(content))

    return build


def idx_header(magic, *sizes):
    """The beginning of an idx file."""
    return struct.pack(f">I{len(sizes)}I", magic, *sizes)


def audited(**changes):
    """The folder of an audit, but for some of what audit.json says."""

    def build(folder):
        found = {
            "format": 1,
            "title": "toy",
            "level": "weak",
            "lead": "all is well",
            "num_records": 100,
            **changes,
        }
        (folder / "audit").mkdir()
        (folder / "audit" / "audit.json").write_text(json.dumps(found))

    return build


def packed(name, content):
    """One gzipped file of a text."""
    return text(name, gzip.compress(content.encode(), mtime=0))
