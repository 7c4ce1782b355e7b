"""A black box behind HTTP: what the server refuses, and a trained target attacked through it."""

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request

import jax
import numpy as np
import pytest
from conftest import ROOT
from held_locks import holder

from jleaks.auditing.adversaries import Attacker, attack_answers
from jleaks.blackbox import files, server
from jleaks.blackbox.about import About
from jleaks.blackbox.box import LearnerBox
from jleaks.blackbox.client import endpoint
from jleaks.blackbox.posteriors import make_posteriors
from jleaks.blackbox.server import make_app, serving
from jleaks.errors import InputError
from jleaks.experiments import bank as bank_engine
from jleaks.experiments import engine
from jleaks.experiments import sweep as main_job
from jleaks.experiments.bank_plan import BankPlan
from jleaks.experiments.kept import kept_model
from jleaks.experiments.paper_plan import make_plan
from jleaks.experiments.plan import Plan
from jleaks.fingerprint import FORMAT
from jleaks.rows import check_row, read_rows
from jleaks.training.execution import Execution
from jleaks.training.recipe import Recipe
from jleaks.training.reporter import Reporter

ABOUT = About("toy", 2, (2,), "uint8", 5, "f00d")
ONE = Execution(num_devices=1)
ATTACK = Recipe("mlp", (64,), 4, 50, 1e-2, 1e-6)
PLAN = Plan(
    tasks=("location",),
    seeds=(2,),
    scale=0.01,
    target=Recipe(epochs=12, batch_size=50),
    attack=ATTACK,
    adversaries=(1, 3),
    num_random_points=50,
)


def fair(records):
    return np.full((len(records), 2), 0.5)


class Fair:
    """Answers one half."""

    def answer(self, records):
        return fair(records)


@pytest.fixture(scope="module")
def address():
    with serving(make_app(Fair(), ABOUT)) as found:
        yield found


def request(method, url, body=None):
    """Status and parsed answer."""
    data = body.encode() if isinstance(body, str) else body
    asked = urllib.request.Request(url, data, method=method)
    try:
        with urllib.request.urlopen(asked, timeout=60) as response:
            return response.status, json.loads(response.read())
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.loads(error.read())


def test_what_it_answers(address):
    assert request("GET", f"{address}/healthz") == (200, {"status": "ok"})
    assert request("GET", f"{address}/about") == (200, ABOUT.as_dict())
    body = json.dumps({"records": [[0, 1], [255, 1.0]]})
    found = request("POST", f"{address}/posteriors", body)
    assert found == (200, {"posteriors": [[0.5, 0.5]] * 2})


@pytest.mark.parametrize(
    ("body", "status", "words"),
    [
        ("", 400, "the request is not JSON"),
        ("{", 400, "the request is not JSON"),
        ("[" * 99_999, 413, "more than"),
        ("[" * 1_400, 400, "the request is not JSON|no list"),
        ("[[0, 1]]", 400, 'no list "records"'),
        ('{"records": 3}', 400, 'no list "records"'),
        ('{"records": []}', 400, r"shape \[0\], expected \[batch, 2\]"),
        ('{"records": [0, 1]}', 400, r"shape \[2\], expected \[batch, 2\]"),
        ('{"records": [[0, 1, 2]]}', 400, r"shape \[1, 3\], expected \[batch, 2\]"),
        ('{"records": [[0, 1], [2]]}', 400, "not all of one shape"),
        ('{"records": [[0, "1"]]}', 400, "other things than numbers"),
        ('{"records": [[0, null]]}', 400, "other things than numbers"),
        ('{"records": [[0, 1], [0, NaN]]}', 400, "NaN is not a number"),
        ('{"records": [[0, 1], [0, Infinity]]}', 400, "Infinity is not a number"),
        ('{"records": [[0, 1], [0, 1e999]]}', 400, "record 1 has inf"),
        (
            '{"records": [[0, 1], [0, 256]]}',
            400,
            r"record 1 has 256, expected whole numbers 0\.\.255",
        ),
        ('{"records": [[-1, 1]]}', 400, "record 0 has -1"),
        ('{"records": [[0.5, 1]]}', 400, r"record 0 has 0\.5"),
        ('{"records": [[0, 99999999999999999999]]}', 400, "other things than numbers"),
        (json.dumps({"records": [[0, 1]] * 6}), 413, "6 records, expected at most 5"),
        (json.dumps({"records": [[0, 1]] * 5}) + " " * 9_999, 413, "more than 1504 bytes"),
    ],
)
def test_what_it_refuses(address, body, status, words):
    found, answer = request("POST", f"{address}/posteriors", body.encode())
    assert found == status
    assert list(answer) == ["error"]
    assert re.search(words, answer["error"]), answer
    assert "\n" not in answer["error"]


def test_other_requests(address):
    assert request("GET", f"{address}/posteriors")[0] == 405
    assert request("GET", f"{address}/nothing") == (404, {"error": "Not Found"})


def test_a_model_that_fails_is_no_end_of_the_server(caplog):
    answers = iter([np.full((1, 2), 0.7), np.eye(2), RuntimeError("out of order"), fair([0])])

    class Broken:
        def answer(self, _):
            found = next(answers)
            if isinstance(found, Exception):
                raise found
            return found

    body = b'{"records": [[0, 1]]}'
    with serving(make_app(Broken(), ABOUT)) as address:
        found = [request("POST", f"{address}/posteriors", body) for _ in range(4)]
    assert [status for status, _ in found] == [500, 500, 500, 200]
    assert found[0][1]["error"].startswith("the model: the posterior of record 0 sums to 1.4")
    assert "shape (2, 2)" in found[1][1]["error"]
    # Its words are for the log of whoever serves it.
    assert found[2][1] == {"error": "the model failed"}
    assert "out of order" in caplog.text


def connected(address):
    host, _, port = address.removeprefix("http://").partition(":")
    return socket.create_connection((host, int(port)), 10)


def test_what_clients_can_cost_is_bounded(monkeypatch, caplog):
    """Idle connections and halves of requests end; so many at once, no more; the log is not flooded."""
    monkeypatch.setattr(server, "_IDLE", 0.5)
    monkeypatch.setattr(server, "_MOST_CONNECTIONS", 5)
    half = b"POST /posteriors HTTP/1.1\r\nHost: x\r\nContent-Length: 99\r\n\r\n{"
    with serving(make_app(Fair(), ABOUT)) as address:
        many = [connected(address) for _ in range(12)]
        # Those beyond the fifth are let go of at once, the others once they were idle.
        for one in many:
            with contextlib.suppress(ConnectionResetError):
                assert one.recv(1) == b""
            one.close()
        with connected(address) as one:
            one.sendall(half)
            assert b"408" in one.recv(4096)
        with connected(address) as one:
            one.sendall(b"POST /posteriors HTTP/1.1\r\nHost:")
            assert one.recv(1) == b""
        with connected(address) as one:
            one.sendall(half)
            time.sleep(0.05)
        assert request("GET", f"{address}/healthz")[0] == 200
    (record,) = caplog.records
    assert record.getMessage() == "a client hung up after 1 bytes of its request"
    assert record.exc_info is None


def test_a_long_string_among_records_makes_no_room(address):
    """NumPy would hold its length as many times as there are records."""
    body = json.dumps({"records": [[0, 1], ["x" * 1_300, 1]]}).encode()
    status, found = request("POST", f"{address}/posteriors", body)
    assert (status, found["error"][:38]) == (400, "records hold other things than numbers")


def test_addresses_that_cannot_be_listened_on():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with (
            pytest.raises(InputError, match=f"cannot listen on 127.0.0.1:{port}: .*in use"),
            serving(None, port=port),
        ):
            pass
    # An address for documentation, which no machine has (RFC 5737).
    with pytest.raises(InputError, match="cannot listen on 192"), serving(None, "192.0.2.1"):
        pass
    with pytest.raises(InputError, match="port is 65536, expected"), serving(None, port=65_536):
        pass


# A trained target.


@pytest.fixture(scope="module")
def sweep(tmp_path_factory):
    workdir = tmp_path_factory.mktemp("sweep")
    main_job.run(PLAN, ONE, str(workdir))
    return workdir


def asked(model, name):
    """The posteriors of a model on its members and non-members, without a server."""
    rows = np.concatenate([model.members, model.nonmembers])
    box = LearnerBox(model.learner, model.state)
    member = np.arange(len(rows)) < len(model.members)
    return make_posteriors(
        box.answer(model.data.features[rows]), member, model.data.labels[rows], name
    )


def test_posteriors_alone_give_the_rows_of_the_main_job(sweep):
    """The same models, the same attack models: the audit's rows are the sweep's."""
    rows = []
    for seed in range(2):
        models = [kept_model(str(sweep), "location", seed, r) for r in ("target", "shadow")]
        target, shadow = (asked(m, "x") for m in models)
        about = {"source": "synthetic", "num_records": 5010, "epochs": 12, "model": "mlp"}
        attacker = Attacker(shadow, None, "location", seed=seed, recipe=ATTACK)
        rows += attack_answers(target, attacker, ONE, about=about)
    wanted = read_rows(sweep / "rows.jsonl")
    # Attacks on labels are not the main job's.
    rows = [row for row in rows if row["adversary"] is not None]
    assert len(rows) == len(wanted) == 8
    for row in rows:
        check_row(row, "here")
        names = ("adversary", "attack", "seed", "task", "shadow_task")
        (theirs,) = (w for w in wanted if all(w[n] == row[n] for n in names))
        for name in ("auc", "train_accuracy", "test_accuracy", "shadow_test_accuracy"):
            assert row[name] == pytest.approx(theirs[name], abs=2e-3), name
        assert row["collapsed"] == theirs["collapsed"]
        if row["adversary"] == 1:
            for name in ("precision_shadow_cut", "recall_shadow_cut", "accuracy_shadow_cut"):
                assert row[name] == pytest.approx(theirs[name], abs=0.01), name
            assert row["precision"] == pytest.approx(theirs["precision"], abs=0.01)
            assert row["recall"] == pytest.approx(theirs["recall"], abs=0.01)
        assert row["num_members"] == row["num_nonmembers"] == 400


def test_models_that_are_not_there(sweep, tmp_path):
    for args, words in [
        ((str(tmp_path), "location", 0, "target"), "has no plan.json"),
        ((str(sweep), "adult", 0, "target"), "has no adult; it has location"),
        ((str(sweep), "location", 2, "target"), r"seed is 2; location .* has 0\.\.1"),
    ]:
        with pytest.raises(InputError, match=words):
            kept_model(*args)
    (tmp_path / "plan.json").write_bytes((sweep / "plan.json").read_bytes())
    with pytest.raises(InputError, match="seed is -1, expected a whole number from 0"):
        kept_model(str(tmp_path), "location", -1, "target")
    with pytest.raises(InputError, match="has no trained models: say where they are with"):
        kept_model(str(tmp_path), "location", 0, "target")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["plan.json"]
    with pytest.raises(InputError, match="shadow model 1 of location, seed 1 is not among the"):
        kept_model(str(tmp_path), "location", 1, "shadow", models_dir=str(sweep), index=1)
    with pytest.raises(InputError, match=r"index is 1, expected 0\.\.0"):
        kept_model(str(sweep), "location", 1, "target", index=1)
    elsewhere = kept_model(str(tmp_path), "location", 1, "shadow", models_dir=str(sweep))
    here = kept_model(str(sweep), "location", 1, "shadow")
    assert elsewhere.fingerprint == here.fingerprint
    jax.tree.map(np.testing.assert_array_equal, elsewhere.state, here.state)
    for text in (
        "[]",
        f'{{"plan": {{"format": {FORMAT}, "tasks": ["location"]}}}}',
        '{"plan": []}',
    ):
        (tmp_path / "plan.json").write_text(text)
        with pytest.raises(
            InputError, match=r"plan\.json is not the plan of launch\.sweep, launch"
        ):
            kept_model(str(tmp_path), "location", 0, "target")


def test_models_of_experiments_are_served(tmp_path):
    """A paper run's plan lays out the same models as a sweep's: each is found in the other's library."""
    plan = make_plan(
        "smoke",
        ("location",),
        num_seeds=1,
        changes={"target": PLAN.target, "attack": ATTACK, "shadow_counts_mlp": (2,)},
    )
    engine.run(plan, ["E6"], ONE, str(tmp_path / "paper"), models_dir=str(tmp_path / "models"))
    args = str(tmp_path / "paper"), "location", 0
    with pytest.raises(InputError, match=r"paper has no trained models"):
        kept_model(*args, "target")
    first, second = (
        kept_model(*args, "shadow", models_dir=str(tmp_path / "models"), index=i) for i in (0, 1)
    )
    assert set(first.members) != set(second.members)
    assert first.fingerprint != second.fingerprint
    target = kept_model(*args, "target", models_dir=str(tmp_path / "models"))
    assert asked(target, "x").accuracy(member=True) > asked(target, "x").accuracy(member=False)
    lines = []
    rows = main_job.run(
        plan.main_plan(), ONE, str(tmp_path / "models"), reporter=Reporter(line=lines.append)
    )
    assert any("location: 2 models of 400 records, none of them trained now" in x for x in lines)
    assert rows


def test_models_of_banks_are_served(tmp_path):
    recipe = Recipe(hidden=(16,), epochs=20, batch_size=20, learning_rate=3e-3)
    plan = BankPlan("location", 4, 200, 50, recipe=recipe, num_queries=1)
    bank = bank_engine.train_bank(plan, ONE, str(tmp_path))
    model = kept_model(str(tmp_path), "location", 0, "model", index=3)
    found = asked(model, "x")
    # As in the bank, whose records are the candidates, then the population.
    member, correct = bank.member[3, :200], bank.correct[0, 3, :200]
    assert found.accuracy(member=True) == pytest.approx(correct[member].mean())
    assert found.accuracy(member=False) == pytest.approx(correct[~member].mean())
    for role, index, words in [
        ("target", 0, "role is target; .* has model"),
        ("model", 4, r"index is 4, expected 0\.\.3"),
    ]:
        with pytest.raises(InputError, match=words):
            kept_model(str(tmp_path), "location", 0, role, index=index)
    with pytest.raises(InputError, match=r"seed is 1; location in .* has 0"):
        kept_model(str(tmp_path), "location", 1, "model")


def test_a_plan_that_was_changed_after_the_run_is_refused(sweep, tmp_path):
    text = (sweep / "plan.json").read_text()
    (tmp_path / "plan.json").write_text(text.replace('"batch_size": 50', '"batch_size": 51', 1))
    with pytest.raises(
        InputError, match=r"plan\.json has the fingerprint .* was changed after the run"
    ):
        kept_model(str(tmp_path), "location", 0, "target")


def start(module, *flags):
    """A launcher that goes on, and its first line."""
    process = subprocess.Popen(
        [sys.executable, "-u", "-m", module, *map(str, flags)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    return process, process.stdout.readline()


def stop(process):
    """Its exit status and what else it printed, after SIGTERM."""
    process.send_signal(signal.SIGTERM)
    output, errors = process.communicate(timeout=60)
    return process.returncode, output, errors


def test_an_audit_over_http_stopped_and_continued_equals_one_of_the_posteriors(
    sweep, launch, tmp_path
):
    process, line = start(
        "launch.serve", f"--workdir={sweep}", "--task=location", "--seed=1", "--port=0",
        "--most_records=300", f"--records_out={tmp_path / 'records.npz'}",
    )  # fmt: skip
    try:
        found = re.fullmatch(
            r"serving the target of location, seed 1, at (http://127\.0\.0\.1:\d+)\n", line
        )
        assert found, line
        shadow = asked(kept_model(str(sweep), "location", 1, "shadow"), "shadow")
        files.write(tmp_path / "shadow.csv", shadow)
        flags = [
            f"--target_url={found[1]}", f"--records={tmp_path / 'records.npz'}",
            f"--shadow={tmp_path / 'shadow.csv'}", f"--out_dir={tmp_path}", "--task=location",
            "--seed=1", "--attack_epochs=4", "--attack_batch_size=50", "--num_random_points=50",
            "--num_cpu_devices=1", "--budget=850", "--attack_recipe=ml_leaks",
        ]  # fmt: skip
        first, line = start("launch.audit", "--request_rate=1", *flags)
        assert line.endswith(f"  {found[1]}: 300/850 records answered\n")
        status, output, errors = stop(first)
        assert (status, errors) == (75, "")
        assert "stopped, all answers so far are kept; the same command continues" in output
        # Who asks for the same answers meanwhile would pay for them, too.
        with holder(tmp_path / "answers.sqlite.lock") as other:
            refused = launch("launch.audit", *flags)
        again = launch("launch.audit", *flags)
        with endpoint(found[1]) as box:
            assert box.source.most_records == 300
    finally:
        status, output, errors = stop(process)
    assert (status, output, errors) == (0, "stopped\n", "")
    assert refused.returncode == 2
    assert f"is in use by process {other.pid} on" in refused.stderr
    assert again.returncode == 0, again.stderr
    sent = re.search(r"(\d+) records were sent to http://\S+ now, (\d+) before", again.stdout)
    assert int(sent[2]) in (300, 600)
    assert int(sent[1]) + int(sent[2]) == 850
    assert "Membership from posteriors alone" in (tmp_path / "tables.md").read_text()

    target = asked(kept_model(str(sweep), "location", 1, "target"), "target")
    over_http = files.read(tmp_path / "posteriors.npz")
    np.testing.assert_allclose(over_http.posteriors, target.posteriors, atol=1e-6)
    np.testing.assert_array_equal(over_http.label, target.label)
    rows = [json.loads(line) for line in (tmp_path / "rows.jsonl").read_text().splitlines()]
    direct = attack_answers(target, Attacker(shadow, None, "location", seed=1, recipe=ATTACK), ONE)
    assert [row["attack"] for row in rows] == [row["attack"] for row in direct]
    for ours, theirs in zip(rows, direct, strict=True):
        for name in ("auc", "tpr_at_fpr_0.01", "fpr_realised_0.01", "train_accuracy"):
            assert ours[name] == pytest.approx(theirs[name], abs=2e-3), name
    (wanted,) = (
        w for w in read_rows(sweep / "rows.jsonl") if w["seed"] == 1 and w["attack"] == "maximum"
    )
    assert rows[1]["threshold"] == pytest.approx(wanted["threshold"], rel=1e-4)
    assert rows[1]["recall"] == pytest.approx(wanted["recall"], abs=0.01)


def test_the_launchers_refuse_bad_input_in_one_line(launch, tmp_path):
    files.write(tmp_path / "t.npz", make_posteriors(np.eye(4)))
    for module, flags, words in [
        ("launch.serve", [f"--workdir={tmp_path}", "--task=location"], "has no plan.json"),
        ("launch.audit", [f"--target={tmp_path / 't.npz'}", "--rate=3"], "--rate is given, but"),
    ]:
        process = launch(module, *flags, env={**os.environ, "JAX_PLATFORMS": "cpu"})
        assert process.returncode == 2, process.stderr
        assert process.stderr.count("\n") == 1
        assert process.stderr.startswith("error: ")
        assert words in process.stderr


def test_a_defence_of_answers_is_put_before_a_model(sweep):
    def answers(defence):
        model = kept_model(str(sweep), "location", 0, "target", defence=defence)
        box = LearnerBox(model.learner, model.state, answering=model.answering)
        return model.fingerprint, box.answer(model.data.features[model.members[:50]])

    name, plain = answers(None)
    of_one, one = answers("top_k:1")
    assert of_one != name
    np.testing.assert_array_equal(one.argmax(1), plain.argmax(1))
    np.testing.assert_allclose(one.max(1), plain.max(1), rtol=1e-5)
    rest = np.sort(one, axis=1)[:, :-1]
    np.testing.assert_allclose(rest, rest[:, :1].repeat(rest.shape[1], axis=1), rtol=1e-4)
    _, hidden = answers("hamp_output:1")
    np.testing.assert_array_equal(hidden.argsort(1), plain.argsort(1))
    assert np.abs(hidden - plain).max() > 0.1
    with pytest.raises(InputError, match=r"dropout:0\.5 changes training or trains other"):
        answers("dropout:0.5")
