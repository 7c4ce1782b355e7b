"""The flags of asking an endpoint or a function: where it is, how it is asked, what it may cost."""

import sys
import time
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from absl import flags

from jleaks import locks, registry
from jleaks.blackbox.pace import FORMS, INCOMPLETE, Form, Incomplete, Limits
from jleaks.errors import InputError

from .app import WHERE
from .fields import Fields
from .log import Log

if TYPE_CHECKING:
    from jleaks.blackbox.asked import Asked
    from jleaks.training.preemption import StopSignal

_ASKING = "How an endpoint or a function is asked"

URL = flags.DEFINE_string(
    "target_url",
    None,
    "Address of the target's endpoint.  --endpoint is the same flag.",
    module_name=WHERE,
)
flags.DEFINE_alias("endpoint", "target_url", module_name=WHERE)
CALLABLE = flags.DEFINE_string(
    "target_callable",
    None,
    "Python function that is the target, as module:function or FILE.py:function, from records to "
    "posteriors.",
    module_name=WHERE,
)
_CACHE = flags.DEFINE_string(
    "cache",
    None,
    "File that keeps the answers.  Default: answers.sqlite in --out_dir for an endpoint; none for a "
    "function, whose answers are found again by its name and its file's contents.",
    module_name=_ASKING,
)
_PROTOCOL = flags.DEFINE_string(
    "protocol",
    "jleaks",
    "How the endpoint is asked: jleaks, tf_serving, kserve, mlflow, one of a --plugin, or a mapping file "
    "(.toml or .json) that says path, body and where the posteriors are.",
    module_name=_ASKING,
)
_TOKEN = flags.DEFINE_string(
    "token_file", None, "File of a token, sent as Authorization: Bearer.", module_name=_ASKING
)
_HEADERS = flags.DEFINE_string(
    "header_file",
    None,
    "File of further headers, a line each such as X-API-Key: ...; they are shown and kept nowhere.",
    module_name=_ASKING,
)
_NUM_CLASSES = flags.DEFINE_integer(
    "num_classes",
    None,
    "Number of classes, where the target does not say.  Default: that of its first answer.",
    lower_bound=2,
    module_name=_ASKING,
)
_FORM = flags.DEFINE_enum(
    "answers_are",
    None,
    list(FORMS),
    "What the target answers.  Default: what the protocol says.",
    module_name=_ASKING,
)
_INCOMPLETE = flags.DEFINE_enum(
    "incomplete",
    "stop",
    list(INCOMPLETE),
    "What happens to records without a usable answer (NaN).  stop: the first is named.  ask: they are "
    "asked about once more.  drop: they are left out, and so are those the budget does not pay for.",
    module_name=_ASKING,
)
_LIMITS = Fields(Limits, ("budget", "retries", "answer_timeout"), _ASKING)
_RATE = flags.DEFINE_float(
    "rate", None, "Most records it is sent in a second.", module_name=_ASKING
)
_REQUEST_RATE = flags.DEFINE_float(
    "request_rate", None, "Most requests it is sent in a second.", module_name=_ASKING
)
_BATCH = flags.DEFINE_integer(
    "batch",
    None,
    "Number of records in one request, or one call; default what it takes.",
    lower_bound=1,
    module_name=_ASKING,
)
_TIMEOUT = flags.DEFINE_float(
    "timeout", Limits().read_timeout, "Seconds that it may be silent.", module_name=_ASKING
)
# Without what is asked, these would be passed over in silence.
_OF_ENDPOINTS = (
    *("protocol", "token_file", "header_file", "timeout", "answer_timeout", "retries"),
)
_OF_ANY = (
    *("cache", "budget", "rate", "request_rate", "batch", "num_classes", "answers_are"),
    "incomplete",
)
# Seconds between two lines of progress.
_EVERY = 5.0


def is_asked_for() -> bool:
    """Whether the flags name an endpoint or a function.

    Raises:
      InputError: both are named, or flags say how neither is asked.
    """
    given = [flag.name for flag in (URL, CALLABLE) if flag.value is not None]
    if len(given) == 2:
        raise InputError("--target_url and --target_callable are given, expected one of them")
    for name in _OF_ENDPOINTS if URL.value is None else ():
        if flags.FLAGS[name].present:
            raise InputError(f"--{name} is given, but there is no --target_url")
    for name in _OF_ANY if not given else ():
        if flags.FLAGS[name].present:
            raise InputError(
                f"--{name} is given, but nothing is asked: --target_url, --target_callable"
            )
    return bool(given)


def asked(records: Any, folder: Path, log: Log, stop: "StopSignal", check: Any = None) -> Any:
    """Asks the endpoint or the function that the flags name.

    Args:
      records: [N, ...], or a data frame.
      folder: Where answers of an endpoint are kept.
      log: Receives lines of progress.
      stop: Ends the asking; what arrived is kept.
      check: Called with the number of classes, where it is known, before anything is paid for.

    Returns:
      Posteriors [N, K], which of the records have a usable answer [N], and the black box.

    Raises:
      InputError: flags, records or answers cannot be used.
      EndpointError: the endpoint cannot be reached, or kept failing.
    """
    path: Path | str | None = _CACHE.value
    if path is None and URL.value is not None:
        path = folder / "answers.sqlite"
    alone = nullcontext() if path is None else locks.alone(Path(f"{path}.lock"))
    # Two processes would pay for the same answers.
    with alone, _box(path, log, stop) as box:
        if check is not None and box.source.num_classes is not None:
            check(box.source.num_classes)
        before = box.num_sent
        posteriors, usable = box.ask(records)
        log.line(f"{box.num_sent - before} records were sent to {box.name} now, {before} before")
        return posteriors, usable, box


def _box(answers: Path | str | None, log: Log, stop: "StopSignal") -> "Asked":
    from jleaks.blackbox import client

    limits = Limits(
        batch=_BATCH.value,
        read_timeout=_TIMEOUT.value,
        records_per_second=_RATE.value,
        requests_per_second=_REQUEST_RATE.value,
        **_LIMITS.values(),
    ).validate()
    form, incomplete = cast(Form | None, _FORM.value), cast(Incomplete, _INCOMPLETE.value)
    told = float("-inf")

    def report(text: str) -> None:
        nonlocal told
        if (now := time.monotonic()) - told >= _EVERY:
            told = now
            log.line(f"  {text}")

    if (name := CALLABLE.value) is not None:
        fn = registry.load_object(name)
        if not callable(fn):
            raise InputError(f"{name} is a {type(fn).__name__}, expected a function")
        return client.metered(
            fn, limits, answers, name=name, identity=f"{name} {_digest(fn)}",
            num_classes=_NUM_CLASSES.value, form=form or "posteriors",
            incomplete=incomplete, report=report, stop=stop,
        )  # fmt: skip
    assert URL.value is not None
    headers = {} if _HEADERS.value is None else client.read_headers(_HEADERS.value)
    if _TOKEN.value is not None:
        if "authorization" in map(str.lower, headers):
            raise InputError("--token_file and --header_file both say Authorization")
        headers["Authorization"] = f"Bearer {_token(Path(_TOKEN.value))}"
    return client.endpoint(
        URL.value, limits, answers, protocol=_PROTOCOL.value, headers=headers,
        num_classes=_NUM_CLASSES.value, form=form, incomplete=incomplete,
        report=report, stop=stop,
    )  # fmt: skip


def _digest(fn: Any) -> str:
    """Returns what tells a function from its later self: its file's contents."""
    module = sys.modules.get(getattr(fn, "__module__", None) or "")
    path = getattr(module, "__file__", None)
    return registry.origin_of(Path(path)).digest if path else ""


def _token(path: Path) -> str:
    try:
        token = path.read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not text"
        raise InputError(f"cannot read {path}: {why}") from error
    if not token.isascii() or not token.isprintable() or not token:
        raise InputError(f"{path} is not one line of printable ASCII")
    return token
