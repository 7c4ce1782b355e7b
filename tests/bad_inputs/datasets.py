"""Bad inputs of `jleaks prepare`: official files that are not, and prepared data that is damaged."""

import gzip
import tarfile

from raw_files import ADULT_ROW, idx

from .case import Bad, Table
from .worlds import (
    adult,
    cut,
    flipped,
    gzip_idx,
    idx_header,
    location,
    member,
    mnist,
    several,
    tar,
    text,
)

_TGZ = "raw/dataset_location.tgz"
_IMAGES = "train-images-idx3-ubyte.gz"
_LABELS = "train-labels-idx1-ubyte.gz"


def _bits(value="1", rows=30):
    """Rows of location's format with one other value."""
    line = f'"1",{",".join([value] + ["0"] * 445)}\n'
    return line * rows


def _row(place, value):
    """One row of Adult with another field."""
    fields = ADULT_ROW.split(", ")
    fields[place] = value
    return ", ".join(fields) + "\n"


_FLAGS = {
    "task": (["--tasks=sonar"], ["unknown task 'sonar'"]),
    "no_task": (["--tasks="], ["--tasks"]),
    "raw_nowhere": (["--raw_dir={}/none"], ["none"]),
    "raw_empty_flag": (["--raw_dir="], ["--raw_dir"]),
    "raw_empty": (["--raw_dir={}/empty"], ["dataset_location.tgz"]),
    "raw_is_a_file": (["--raw_dir={}/empty/x"], ["empty/x"]),
    "data_empty_flag": (["--data_dir="], ["--data_dir"]),
    "data_is_a_file": (["--data_dir={}/empty/x"], ["empty/x"]),
    "terms_0": (["--tasks=news", "--num_terms=0"], ["num_terms", "0"]),
    "size_0": (["--tasks=face", "--face_size=0"], ["face_size", "0"]),
    "size_huge": (["--tasks=face", "--face_size=1000000"], ["face_size"]),
    "crop_0": (["--tasks=face", "--face_crop=0"], ["face_crop", "0"]),
    "crop_nan": (["--tasks=face", "--face_crop=nan"], ["face_crop", "nan"]),
}
_LOCATION = {
    "cut": cut(location, _TGZ),
    "flipped": flipped(location, _TGZ, 0.6),
    "no_gzip": text(_TGZ, "hello"),
    "empty": text(_TGZ, ""),
    "no_tar": text(_TGZ, gzip.compress(b"hello" * 1000)),
    "no_member": tar("dataset_location.tgz", {"other": b"x"}),
    "traversal": tar("dataset_location.tgz", {}, [member("../bangkok")]),
    "absolute": tar("dataset_location.tgz", {}, [member("/tmp/bangkok")]),
    "symlink": tar("dataset_location.tgz", {}, [member("bangkok", tarfile.SYMTYPE, link="/etc/passwd")]),
    "hard_link": tar("dataset_location.tgz", {}, [member("bangkok", tarfile.LNKTYPE, link="/etc/passwd")]),
    "device": tar("dataset_location.tgz", {}, [member("bangkok", tarfile.CHRTYPE)]),
    "fifo": tar("dataset_location.tgz", {}, [member("bangkok", tarfile.FIFOTYPE)]),
    "bomb_declared": text(_TGZ, gzip.compress(member("bangkok", size=2**42).tobuf(tarfile.GNU_FORMAT))),
    "columns": tar("dataset_location.tgz", {"bangkok": b'"1",0,1\n' * 30}),
    "class_0": tar("dataset_location.tgz", {"bangkok": _bits().replace('"1"', '"0"').encode()}),
    "class_squared": tar("dataset_location.tgz", {"bangkok": _bits().replace('"1"', '"\u00b2"').encode()}),
    "class_digits": tar("dataset_location.tgz", {"bangkok": _bits().replace('"1"', "9" * 5000).encode()}),
    "value_2": tar("dataset_location.tgz", {"bangkok": _bits("2").encode()}),
    "latin": tar("dataset_location.tgz", {"bangkok": b"\xff\xfe" * 100}),
    "no_rows": tar("dataset_location.tgz", {"bangkok": b""}),
}  # fmt: skip
_MNIST = {
    "cut": cut(mnist, f"raw/{_IMAGES}"),
    "magic": gzip_idx(_IMAGES, idx_header(0x0D03, 1, 28, 28) + b"\0" * 784),
    "dimensions": gzip_idx(_IMAGES, idx_header(0x0801, 784) + b"\0" * 784),
    "sizes_huge": gzip_idx(_IMAGES, idx_header(0x0803, 2**31, 28, 28)),
    "short": gzip_idx(_IMAGES, idx_header(0x0803, 12, 28, 28) + b"\0" * 99),
    "long": gzip_idx(_IMAGES, idx_header(0x0803, 12, 28, 28) + b"\0" * 99_999),
    "size_27": gzip_idx(_IMAGES, idx_header(0x0803, 12, 27, 27) + b"\0" * 12 * 27 * 27),
    "empty": gzip_idx(_IMAGES, b""),
    "labels_fewer": gzip_idx(_LABELS, idx([0] * 11)),
    "label_10": gzip_idx(_LABELS, idx([10] * 12)),
    "missing": several(mnist, lambda f: (f / "raw" / _LABELS).unlink()),
    "is_a_folder": several(
        mnist, lambda f: (f / "raw" / _LABELS).unlink(), lambda f: (f / "raw" / _LABELS).mkdir()
    ),
}
_ADULT = {
    "fields": ("adult.data", adult(data="39, State-gov\n")),
    "age_word": ("adult.data", adult(data=_row(0, "old"))),
    "age_arabic": ("adult.data", adult(data=_row(0, "\u0663\u0669"))),
    "age_squared": ("adult.data", adult(data=_row(0, "\u00b2"))),
    "weight_digits": ("adult.data", adult(data=_row(2, "9" * 5000))),
    "weight_2_to_31": ("adult.data", adult(data=_row(2, str(2**31)))),
    "age_negative": ("adult.data", adult(data=_row(0, "-3"))),
    "income": ("adult.data", adult(data=_row(14, "rich"))),
    "workclass": ("adult.data", adult(data=_row(1, "Pirate"))),
    "latin": ("adult.data", several(adult(), text("raw/adult.data", b"\xff\n"))),
    "no_test": ("adult.test", several(adult(), lambda f: (f / "raw" / "adult.test").unlink())),
}

PREPARE = Table(
    "prepare",
    [
        *(Bad(name, flags, says, text("empty/x", "")) for name, (flags, says) in _FLAGS.items()),
        *(
            Bad(f"location_{name}", ["--raw_dir={}/raw"], "dataset_location.tgz", build)
            for name, build in _LOCATION.items()
        ),
        *(
            Bad(f"mnist_{name}", ["--raw_dir={}/raw", "--tasks=mnist"], "-ubyte", build)
            for name, build in _MNIST.items()
        ),
        *(
            Bad(f"adult_{name}", ["--raw_dir={}/raw", "--tasks=adult"], says, build)
            for name, (says, build) in _ADULT.items()
        ),
    ],
    ("--data_dir={}/out", "--tasks=location", "--raw_dir={}/empty"),
)
