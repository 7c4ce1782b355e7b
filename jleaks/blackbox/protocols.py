"""The protocols that jleaks knows: its own, and those of common servers.

jleaks      `jleaks.blackbox.about`: GET /about, POST /posteriors
tf_serving  TensorFlow Serving's REST: http://host:8501/v1/models/NAME
kserve      KServe's Open Inference Protocol, version 2 (Triton, MLServer, TorchServe):
            http://host:8000/v2/models/NAME
mlflow      `mlflow models serve`: http://host:5000
"""

import json
from typing import Any

import numpy as np

from jleaks.blackbox.about import ABOUT, POSTERIORS, check_records, read_about
from jleaks.blackbox.protocol import PROTOCOLS, Protocol, Told
from jleaks.errors import InputError

_NUMPY = {"FP16": "f2", "FP32": "f4", "FP64": "f8", "BOOL": "u1"} | {
    f"{name}{8 * size}": f"{kind}{size}"
    for name, kind in (("INT", "i"), ("UINT", "u"))
    for size in (1, 2, 4, 8)
}


def _own(value: Any, where: str) -> Told:
    about = read_about(value, where)
    # Endpoints that state the same fingerprint answer the same, wherever they are; others are told apart by
    # address, and by what they say of themselves, should it change.
    said = json.dumps({**about.as_dict(), "most_records": None}, sort_keys=True)
    return Told(
        about.num_classes,
        about.most_records,
        f" {said}" if about.fingerprint else f"{where.removesuffix(ABOUT)} {said}",
        {},
        lambda records: check_records(records, about),
    )


def _kserve(value: Any, where: str) -> Told:
    """Reads a model's metadata: the name and type of its input, the number of classes."""
    words: dict[str, Any] = {"$input": "input-0"}
    if value is None:
        return Told(words=words)
    try:
        first, outputs = value["inputs"][0], value.get("outputs") or [{}]
        words["$input"], datatype = str(first["name"]), str(first["datatype"])
        shape = outputs[0].get("shape") or []
    except (TypeError, KeyError, IndexError, AttributeError):
        raise InputError(
            f"{where} names no input with a datatype, as the protocol has it"
        ) from None
    if datatype not in _NUMPY:
        raise InputError(f"{where} takes {datatype:.20}, expected numbers")
    words["$datatype"] = datatype
    known = len(shape) == 2 and type(shape[1]) is int and shape[1] > 1
    wanted = np.dtype(_NUMPY[datatype])

    def check(records: Any) -> np.ndarray:
        array = np.asarray(records)
        if array.dtype.kind not in "biuf":
            raise InputError(f"{where} takes {datatype}, and records are {array.dtype}")
        with np.errstate(invalid="ignore", over="ignore"):
            found = array.astype(wanted)
        if wanted.kind in "iu" and not (found == array).all():
            raise InputError(f"{where} takes {datatype}, which not all numbers of the records are")
        return found

    return Told(shape[1] if known else None, None, None, words, check)


_ENTRIES = {
    "jleaks": Protocol(
        {"records": "$records"}, "posteriors", path=POSTERIORS, about=ABOUT, tell=_own
    ),
    "tf_serving": Protocol({"instances": "$records"}, "predictions", path=":predict"),
    "kserve": Protocol(
        {
            "inputs": [
                {"name": "$input", "shape": "$shape", "datatype": "$datatype", "data": "$flat"}
            ]
        },
        "outputs[0].data",
        path="/infer",
        about="",
        tell=_kserve,
    ),
    "mlflow": Protocol({"inputs": "$records"}, "predictions", path="/invocations"),
}
for _name, _entry in _ENTRIES.items():
    PROTOCOLS.register(_name, _entry)
