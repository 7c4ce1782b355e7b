"""Asking over HTTP: real servers on the loopback device, time and chance by hand."""

import asyncio
import json
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
from conftest import ROOT

from jleaks.blackbox.about import About, check_records, read_about
from jleaks.blackbox.answers import Answers, record_key
from jleaks.blackbox.asked import BudgetError
from jleaks.blackbox.client import endpoint
from jleaks.blackbox.pace import Clock, Limits, Pace, retry_after, wait_seconds
from jleaks.blackbox.server import make_app, serving
from jleaks.blackbox.transport import EndpointError
from jleaks.errors import InputError

ABOUT = About("toy", 3, (4,), "uint8", 10)
# Answers that never arrive in time arrive this much too late.
LATE = 0.3


def toy(records):
    """Posteriors that depend on the record alone."""
    rows = np.asarray(records, np.float64).reshape(len(records), -1)
    logits = np.stack([rows.sum(1) / 9, rows[:, 0] / 7, np.cos(rows).sum(1)], axis=1)
    p = np.exp(logits - logits.max(1, keepdims=True))
    return (p / p.sum(1, keepdims=True)).astype(np.float32)


def drawn(n, seed=0):
    """Distinct records."""
    found = np.random.default_rng(seed).integers(0, 256, (n, 4)).astype(np.uint8)
    assert len(np.unique(found, axis=0)) == n
    return found


class Box:
    """A function that answers."""

    def __init__(self, fn):
        self.answer = fn


class Toy:
    """The toy model behind HTTP; what goes wrong, request by request, is told beforehand."""

    def __init__(self, about=ABOUT, troubles=(), fn=toy):
        self.batches = []
        self.troubles = list(troubles)
        self.headers = []
        self._inner = make_app(Box(self._count(fn)), about)

    def _count(self, fn):
        def counted(records):
            self.batches.append(len(records))
            return fn(records)

        return counted

    async def __call__(self, scope, receive, send):
        self.headers.append(dict(scope["headers"]))
        if scope["method"] != "POST" or not self.troubles:
            await self._inner(scope, receive, send)
            return
        trouble = self.troubles.pop(0)
        if callable(trouble):
            # A wait, and then a good answer.
            await trouble()
            await self._inner(scope, receive, send)
            return
        status, headers, body = trouble
        pairs = [(k.encode(), v.encode()) for k, v in headers.items()]
        await send({"type": "http.response.start", "status": status, "headers": pairs})
        await send({"type": "http.response.body", "body": body})


def refuse(status, **headers):
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return status, named, b'{"error": "not\\nnow"}'


async def late():
    await asyncio.sleep(LATE)


# Promises more bytes than it sends; the server then cuts the connection.
CUT = (200, {"content-length": "1000"}, b'{"poster')


class ByHand:
    """Time that passes only while somebody waits; chance that always is one half."""

    def __init__(self):
        self.time, self.slept = 0.0, []

    def sleep(self, seconds):
        self.slept.append(seconds)
        self.time += seconds

    @property
    def clock(self):
        return Clock(lambda: self.time, lambda: 1e9 + self.time, self.sleep, lambda: 0.5)


@pytest.fixture
def hand():
    return ByHand()


def test_answers_come_in_batches_each_record_once():
    app, records = Toy(), drawn(25)
    asked = np.concatenate([records, records[:7], records[3:4]])
    with serving(app) as address, endpoint(address + "/") as box:
        assert (box.source.num_classes, box.source.most_records) == (3, 10)
        np.testing.assert_array_equal(box.answer(asked), toy(asked))
        assert app.batches == [10, 10, 5]
        np.testing.assert_array_equal(box.answer(asked[::-1]), toy(asked[::-1]))
        assert box.num_sent == 25
        # Types other than the endpoint's are the same records.
        np.testing.assert_array_equal(box.answer(records.astype(np.int64)), toy(records))
    assert app.batches == [10, 10, 5]


def test_a_smaller_batch_headers_and_reports():
    app, told = Toy(), []
    with (
        serving(app) as address,
        endpoint(address, Limits(batch=4), headers={"X-Key": "k"}, report=told.append) as box,
    ):
        box.answer(drawn(6))
    assert app.batches == [4, 2]
    assert all(headers[b"x-key"] == b"k" for headers in app.headers)
    assert told == [f"{address}: {done}/6 records answered" for done in (4, 6)]


def test_what_passes_is_asked_again_after_longer_and_longer_waits(hand):
    troubles = [refuse(503), refuse(502), CUT, late, refuse(504)]
    app, told = Toy(troubles=troubles), []
    limits = Limits(read_timeout=LATE / 3, first_wait=2.0, longest_wait=20.0, retries=5)
    with (
        serving(app) as address,
        endpoint(address, limits, clock=hand.clock, report=told.append) as box,
    ):
        np.testing.assert_array_equal(box.answer(drawn(3)), toy(drawn(3)))
        # 503 says that nothing was answered; 502, 504, a cut and a late answer may have been paid for.
        assert box.num_sent == 3 * 5
    # Chance one half: three quarters of 2, 4, 8, 16, then of the longest.
    assert hand.slept == [1.5, 3, 6, 12, 15]
    assert "status 503 (not now); asking again in 1.5 s" in told[0]


def test_too_many_failures_end_it_and_nothing_is_lost(hand):
    app = Toy()
    with serving(app) as address, endpoint(address, Limits(retries=2), clock=hand.clock) as box:
        box.answer(drawn(10))
        app.troubles = [refuse(429)] * 3
        with pytest.raises(
            EndpointError, match=r"status 429 \(not now\); given up after 3 attempts"
        ):
            box.answer(drawn(20))
        assert box.num_sent == 10
        app.troubles = []
        box.answer(drawn(20))
    assert app.batches == [10, 10]


def test_nobody_there(hand):
    with serving(Toy()) as address:
        box = endpoint(address, Limits(retries=1), clock=hand.clock)
    with pytest.raises(EndpointError, match="given up after 2 attempts"):
        box.answer(drawn(1))
    assert box.num_sent == 0
    box.close()
    with pytest.raises(EndpointError, match=r"/about: .*given up after 1 attempts"):
        endpoint(address, Limits(retries=0), clock=hand.clock)


@pytest.mark.parametrize(
    ("value", "waits"),
    [
        ("7", 7),
        ("0", 0.375),
        ("Sun, 09 Sep 2001 01:47:10 GMT", 30),
        ("Sun, 09 Sep 2001 01:46:00 GMT", 0.375),
        ("soon", 0.375),
        ("4.5", 4.5),
        ("nan", 0.375),
        ("1e999", 0.375),
        ("9" * 4_000, 0.375),
        ("-3", 0.375),
    ],
)
def test_retry_after_is_honoured(hand, value, waits):
    """Seconds or a date; the clock's wall says 1e9 s, which is 01:46:40 of that day."""
    app = Toy(troubles=[refuse(429, retry_after=value)])
    with serving(app) as address, endpoint(address, clock=hand.clock) as box:
        box.answer(drawn(1))
    assert hand.slept == [waits]


def test_an_endpoint_that_asks_for_too_long_a_wait_is_given_up(hand):
    app = Toy(troubles=[refuse(503, retry_after="121")])
    words = "asks to wait 121 s, the longest wait is 120 s"
    with (
        serving(app) as address,
        endpoint(address, clock=hand.clock) as box,
        pytest.raises(EndpointError, match=words),
    ):
        box.answer(drawn(1))
    assert hand.slept == []


def test_waits_double_and_have_a_ceiling(hand):
    limits = Limits(first_wait=1.0, longest_wait=10.0)
    always = Clock(chance=lambda: 0.0)
    found = [wait_seconds(limits, always, n, None) for n in (1, 2, 3, 4, 5, 4000)]
    assert found == [0.5, 1, 2, 4, 5, 5]
    assert wait_seconds(limits, hand.clock, 1, 3.0) == 3.0
    assert retry_after(None, hand.clock) is None


@pytest.mark.parametrize(
    ("limits", "slept"),
    [
        (Limits(batch=10, records_per_second=5.0), [2.0, 2.0]),
        (Limits(batch=10, requests_per_second=4.0), [0.25, 0.25]),
        # The stricter of both.
        (Limits(batch=10, records_per_second=100.0, requests_per_second=4.0), [0.25, 0.25]),
    ],
)
def test_rates_hold(hand, limits, slept):
    with serving(Toy()) as address, endpoint(address, limits, clock=hand.clock) as box:
        # What the endpoint says of itself is a request, but no record.
        hand.time += 1
        box.answer(drawn(25))
        assert hand.slept == slept
        hand.time += 100
        box.answer(drawn(5, seed=1))
        assert hand.slept == slept


def test_a_retry_keeps_the_pace_too(hand):
    pace = Pace(Limits(records_per_second=1.0), hand.clock)
    for n in (3, 1, 1):
        pace.wait(n)
    assert hand.slept == [3, 1]


def test_a_budget_is_kept_before_anything_is_sent(tmp_path):
    app, path = Toy(), tmp_path / "answers.sqlite"
    limits = Limits(budget=30)
    with serving(app) as address:
        with Answers(path) as answers, endpoint(address, limits, answers) as box:
            box.answer(drawn(20))
            with pytest.raises(
                BudgetError, match=r"11 more records .*budget is 30 and 20 were sent"
            ):
                box.answer(drawn(31))
            assert app.batches == [10, 10]
            assert issubclass(BudgetError, InputError)
        # It holds over runs, and what is known costs nothing.
        with Answers(path) as answers, endpoint(address, limits, answers) as box:
            np.testing.assert_array_equal(box.answer(drawn(30)), toy(drawn(30)))
            with pytest.raises(BudgetError, match="1 more records"):
                box.answer(drawn(31))
            box.answer(drawn(30))
    assert app.batches == [10, 10, 10]


def test_a_budget_counts_what_is_sent_again(hand):
    app = Toy(troubles=[refuse(502)] * 3)
    with (
        serving(app) as address,
        endpoint(address, Limits(budget=25), clock=hand.clock) as box,
        pytest.raises(BudgetError, match=r"10 more records .*25 and 20 were sent"),
    ):
        box.answer(drawn(10))
    assert len(hand.slept) == 2


def test_a_second_run_asks_nothing(tmp_path):
    app, path = Toy(), tmp_path / "folder" / "answers.sqlite"
    with serving(app) as address:
        for _ in range(2):
            with Answers(path) as answers, endpoint(address, answers=answers) as box:
                np.testing.assert_array_equal(box.answer(drawn(12)), toy(drawn(12)))
            assert app.batches == [10, 2]


def test_answers_belong_to_who_gave_them(tmp_path):
    """To an address; where a fingerprint is stated, to that, wherever the endpoint is."""
    named = [About("toy", 3, (4,), "uint8", n, f) for n, f in [(10, "a"), (5, "a"), (10, "b")]]
    sent = []
    with Answers(tmp_path / "a.sqlite") as answers:
        for about in (ABOUT, ABOUT, *named):
            app = Toy(about)
            with serving(app) as address, endpoint(address, answers=answers) as box:
                box.answer(drawn(10))
            sent.append(sum(app.batches))
    assert sent == [10, 10, 10, 0, 10]


CLIENT = """
import sys
import numpy as np
from jleaks.blackbox.answers import Answers
from jleaks.blackbox.client import endpoint

box = endpoint(sys.argv[1], answers=Answers(sys.argv[2]))
box.answer(np.load(sys.argv[3]))
"""


def test_a_killed_client_pays_again_for_no_more_than_the_batch_in_flight(tmp_path):
    reached, go = threading.Event(), threading.Event()

    def fn(records):
        if len(app.batches) == 4:
            reached.set()
            assert go.wait(60)
        return toy(records)

    app, path, records = Toy(fn=fn), tmp_path / "answers.sqlite", drawn(100)
    np.save(tmp_path / "records.npy", records)
    with serving(app) as address:
        process = subprocess.Popen(
            [sys.executable, "-c", CLIENT, address, str(path), str(tmp_path / "records.npy")],
            cwd=ROOT,
        )
        try:
            assert reached.wait(60)
        finally:
            os.kill(process.pid, signal.SIGKILL)
            go.set()
        assert process.wait(60) == -signal.SIGKILL
        assert app.batches == [10] * 4
        with Answers(path) as answers, endpoint(address, answers=answers) as box:
            np.testing.assert_array_equal(box.answer(records), toy(records))
            assert sum(app.batches) - 40 == 100 - 30
            assert box.num_sent == 110


UNREADABLE = [
    (b'{"posteriors": [[0.5, 0.5]]}', "2 posteriors for each record, expected 3 classes"),
    (b'{"posteriors": [[1, 0, 0], [1, 0, 0]]}', "posteriors has 2 answers for 1 records"),
    (b'{"posteriors": "many"}', 'posteriors is "many", expected a list'),
    (b'{"posteriors": [[1, 0', r"it is not JSON \(\{\"posteriors"),
    (b"[1]", "there is no 'posteriors' in a list of 1"),
    (b"\xff", "not JSON"),
    (b"[" * 99_999, "not JSON"),
]


@pytest.mark.parametrize(("body", "words"), UNREADABLE)
def test_answers_that_cannot_be_read_are_kept_and_not_paid_for_again(body, words):
    """The second record's: the first one's answer is known and not asked for again."""
    app, records = Toy(), drawn(2)
    with serving(app) as address, Answers() as answers, endpoint(address, None, answers) as box:
        box.answer(records[:1])
        app.troubles = [(200, {}, body)]
        for _ in range(2):
            with pytest.raises(InputError, match=words) as caught:
                box.answer(records)
            assert "\n" not in str(caught.value)
        assert (app.batches, box.num_sent) == ([1], 2)
        # Once it is asked again, it answers.
        again = endpoint(address, None, answers, incomplete="ask")
        np.testing.assert_array_equal(again.answer(records), toy(records))
        assert (app.batches, box.num_sent) == ([1, 1], 3)
        again.close()


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ("[NaN, 0, 1]", "the posterior of record 3 has nan"),
        ("[null, 0, 1]", "the posterior of record 3 has nan"),
        ("null", "the posterior of record 3 has nan"),
        ("[0.5, 0.5]", "the posterior of record 3 has nan"),
        ('[true, {}, "x"]', "the posterior of record 3 has nan"),
        ("[1.5, -0.5, 0]", r"record 3 has -0\.5"),
        ("[0.5, 0.6, 0.5]", r"the posterior of record 3 sums to 1\.6"),
    ],
)
def test_one_bad_answer_is_named_and_the_others_are_kept(row, words):
    records = drawn(25)
    rows = [json.dumps(p.tolist()) for p in toy(records)]
    first = f'{{"posteriors": [{", ".join([*rows[:3], row, *rows[4:10]])}]}}'.encode()
    app = Toy(troubles=[(200, {}, first)])
    with serving(app) as address, Answers() as answers, endpoint(address, None, answers) as box:
        for _ in range(2):
            with pytest.raises(InputError, match=f"{words}.*; 1 of 25 answers cannot be used"):
                box.answer(records)
        # The first batch was the trouble's; nothing was sent twice.
        assert (app.batches, box.num_sent) == ([10, 5], 25)
        with endpoint(address, None, answers, incomplete="drop") as left:
            found, usable = left.ask(records)
            assert np.flatnonzero(~usable).tolist() == [3]
            np.testing.assert_array_equal(found[usable], toy(records)[usable])
            assert "1 of 25 records are left out" in left.notes[0]
        if "nan" in words or "-0" in words:
            with endpoint(address, None, answers, incomplete="ask") as again:
                np.testing.assert_array_equal(again.answer(records), toy(records))
                assert (app.batches, again.num_sent) == ([10, 5, 1], 26)


def test_a_batch_without_one_usable_answer_ends_it_before_the_next_is_paid_for():
    app = Toy(fn=lambda records: toy(records))
    broken = json.dumps({"posteriors": [[float("nan")] * 3] * 10}).encode()
    app.troubles = [(200, {}, broken)]
    with (
        serving(app) as address,
        endpoint(address) as box,
        pytest.raises(InputError, match="record 0 has nan"),
    ):
        box.answer(drawn(25))
    assert (app.batches, app.troubles) == ([], [])


def test_a_budget_can_be_finished(tmp_path):
    """The last request takes what is left; records that are not paid for may be left out."""
    app, records = Toy(), drawn(30)
    with (
        serving(app) as address,
        Answers(tmp_path / "a") as answers,
        endpoint(address, Limits(budget=17), answers, incomplete="drop") as box,
    ):
        found, usable = box.ask(records)
        assert (app.batches, box.num_sent, usable.sum()) == ([10, 7], 17, 17)
        np.testing.assert_array_equal(found[usable], toy(records)[usable])
        # Any of them, not the first: files have members first.
        assert usable[:17].sum() < 17
        again, _ = box.ask(records)
        np.testing.assert_array_equal(again, found)
    assert app.batches == [10, 7]


def test_413_halves_the_batch_and_500_is_tried_once_more(hand):
    about = About("toy", 3, (4,), "uint8", 10)
    app = Toy(about, troubles=[refuse(413), refuse(413), refuse(500)])
    with serving(app) as address, endpoint(address, clock=hand.clock) as box:
        np.testing.assert_array_equal(box.answer(drawn(7)), toy(drawn(7)))
        # 7, then 4, refused unread; 2 failed and may have been paid for.
        assert (app.batches, box.num_sent) == ([2, 2, 2, 1], 7 + 2)
        app.troubles = [refuse(500)] * 2
        with pytest.raises(EndpointError, match=r"status 500 .*given up after 2 attempts"):
            box.answer(drawn(1, seed=5))
        app.troubles = [refuse(413)]
        with pytest.raises(InputError, match="one record alone is too large"):
            box.answer(drawn(1, seed=6))


def test_refusals_are_shown_in_the_endpoints_words_and_not_repeated(hand):
    app = Toy(troubles=[refuse(400), (403, {}, b"<p>no\nentry" + b"!" * 500), (302, {}, b"")])
    with serving(app) as address, endpoint(address, clock=hand.clock) as box:
        for words in (
            r"status 400 \(not now\)",
            r"status 403 \(<p>no entry!{188,189}\)",
            "status 302",
        ):
            with pytest.raises(InputError, match=words):
                box.answer(drawn(1))
    assert hand.slept == []


def test_records_are_checked_before_they_are_sent():
    app = Toy()
    with serving(app) as address, endpoint(address) as box:
        for records, words in [
            (np.zeros((2, 5)), r"shape \[2, 5\], expected \[batch, 4\]"),
            (np.full((2, 4), 256), r"record 0 has 256, expected whole numbers 0\.\.255"),
            (np.array([[0, 0, 0, 0], [0, 0.5, 0, 0]]), r"record 1 has 0\.5"),
            (np.zeros((0, 4)), "no records"),
        ]:
            with pytest.raises(InputError, match=words):
                box.answer(records)
    assert app.batches == []


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ([], "expected an object"),
        ({**ABOUT.as_dict(), "dtype": "text"}, "dtype is 'text', expected a type of numbers"),
        ({**ABOUT.as_dict(), "dtype": "complex64"}, "dtype is 'complex64'"),
        ({**ABOUT.as_dict(), "shape": [4, 0]}, r"shape is \[4, 0\], expected positive"),
        ({**ABOUT.as_dict(), "shape": ["4"]}, r"x: shape is \['4'\]"),
        ({**ABOUT.as_dict(), "num_classes": 1}, "num_classes is 1, expected at least 2"),
        ({**ABOUT.as_dict(), "most_records": None}, "x: most_records is None"),
        ({"task": "toy"}, "x has no num_classes, expected task, num_classes, shape"),
    ],
)
def test_what_an_endpoint_may_not_say_of_itself(value, words):
    with pytest.raises(InputError, match=words):
        read_about(value, "x")


def test_an_about_survives_the_way_and_unknown_fields_do_not_matter():
    assert read_about({**json.loads(json.dumps(ABOUT.as_dict())), "more": 1}, "x") == ABOUT


def test_floats_may_be_records():
    about = About("toy", 3, (), "float32", 10)
    assert check_records([1, 2.5], about).dtype == np.float32
    for value, words in [(1e39, r"record 1 has 1e\+39"), (float("nan"), "record 1 has nan")]:
        with pytest.raises(InputError, match=words):
            check_records([0, value], about)


def test_bad_addresses_and_limits():
    for url in ("127.0.0.1:80", "ftp://x", "http://", "http://x:port", "http://[::1", "http://x\n"):
        with pytest.raises(InputError, match="is not an address such as"):
            endpoint(url)
    with pytest.raises(InputError, match=r"batch is 0.*retries is -1.*read_timeout is 0"):
        endpoint("http://x", Limits(batch=0, retries=-1, read_timeout=0.0))
    with pytest.raises(InputError, match="records_per_second is nan"):
        endpoint("http://x", Limits(records_per_second=float("nan")))


def test_an_about_that_is_none():
    async def app(_scope, _receive, send):
        await send({"type": "http.response.start", "status": 404, "headers": []})
        await send({"type": "http.response.body", "body": b"nothing here"})

    words = r"/about answered status 404 \(nothing here\)"
    with serving(app) as address, pytest.raises(InputError, match=words):
        endpoint(address)


# Answers on disk.


def test_keys_tell_type_shape_and_value_apart():
    a = np.arange(4, dtype=np.uint8)
    others = [a.astype(np.int8), a.reshape(2, 2), a[::-1]]
    assert len({record_key(x) for x in (a, *others)}) == 4
    assert record_key(a) == record_key(np.arange(4, dtype=np.uint8)[:])
    assert record_key(a[::-1]) == record_key(a[::-1].copy())


def test_other_files_are_refused(tmp_path):
    (tmp_path / "text").write_text("no database at all, but long enough to have a header" * 9)
    with pytest.raises(InputError, match=r"cannot keep answers in .*text: file is not a database"):
        Answers(tmp_path / "text")
    db = sqlite3.connect(tmp_path / "other")
    db.execute("CREATE TABLE x (y)")
    db.commit()
    db.close()
    with pytest.raises(InputError, match="not one of answers"):
        Answers(tmp_path / "other")
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot keep answers"):
        Answers(tmp_path / "file" / "answers")
    with Answers(tmp_path / "good") as answers:
        answers.put("e", [b"k"], np.eye(2, dtype=np.float32)[:1])
    for value in (b"seven.7", "text", 3):
        db = sqlite3.connect(tmp_path / "good")
        db.execute("UPDATE answers SET posterior = ?", (value,))
        db.commit()
        db.close()
        with (
            Answers(tmp_path / "good") as answers,
            pytest.raises(InputError, match="no float32; it is damaged"),
        ):
            answers.get("e", [b"k"])


def test_two_processes_can_share_the_answers(tmp_path):
    with Answers(tmp_path / "a") as one, Answers(tmp_path / "a") as two:
        one.put("e", [b"k"], np.float32([[0.25, 0.75]]))
        two.put("e", [b"k", b"l"], np.float32([[1, 0], [0, 1]]))
        # The first answer stays.
        found = two.get("e", [b"k", b"l", b"m"])
        assert {k: v.tolist() for k, v in found.items()} == {b"k": [0.25, 0.75], b"l": [0, 1]}
        assert one.count("e", 6, 10)
        assert not two.count("e", 5, 10)
        assert two.count("e", 4, 10)
        assert one.sent("e") == 10
        assert one.sent("other") == 0


def test_a_batch_is_kept_whole_or_not_at_all(tmp_path):
    with Answers(tmp_path / "a") as answers:
        # The disk is full once the second record comes.
        other = sqlite3.connect(tmp_path / "a")
        other.execute(
            "CREATE TRIGGER full BEFORE INSERT ON answers WHEN new.record = x'6c' "
            "BEGIN SELECT RAISE(ABORT, 'disk full'); END"
        )
        other.commit()
        other.close()
        with pytest.raises(InputError, match=r"cannot keep answers in .*: disk full"):
            answers.put("e", [b"k", b"l"], np.eye(2, dtype=np.float32))
        assert answers.get("e", [b"k"]) == {}
        answers.put("e", [b"k"], np.eye(2, dtype=np.float32)[:1])
        assert list(answers.get("e", [b"k"])) == [b"k"]


# Serving.


def test_a_server_ends_only_once_requests_are_answered():
    entered = threading.Event()

    def slow(records):
        entered.set()
        time.sleep(LATE)
        return toy(records)

    found = []
    with serving(Toy(fn=slow)) as address:
        box = endpoint(address, Limits(retries=0))
        # SQLite objects stay in the thread that made them, so the request is made by hand.
        thread = threading.Thread(target=lambda: found.append(box.source.send(REQUEST, 1)))
        thread.start()
        assert entered.wait(30)
    thread.join(30)
    posteriors = json.loads(found[0])["posteriors"]
    np.testing.assert_allclose(posteriors, toy(np.zeros((1, 4))), atol=1e-6)
    box.close()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", int(address.rpartition(":")[2])), 1)


REQUEST = b'{"records": [[0, 0, 0, 0]]}'
