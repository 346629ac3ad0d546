"""The reading commands: formats, exit codes, data on stdout and talk on stderr."""

import csv
import io
import json
import os
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from aforo_collector.cli import catalog, db, event, intake, invoice, price, session, usage, webhook

from tests.collector.catalogs import catalog_for
from tests.collector.running import Running
from tests.collector.wire import PROTOBUF, body, chat, customer, tool

COMMANDS: dict[str, Callable[[list[str]], int]] = {
    "session": session.main,
    "event": event.main,
    "invoice": invoice.main,
    "intake": intake.main,
    "price": price.main,
    "catalog": catalog.main,
    "usage": usage.main,
    "webhook": webhook.main,
}


class Ran(NamedTuple):
    """How a command ended and what it printed."""

    code: int
    out: str
    err: str


Run = Callable[..., Ran]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, collector: Running) -> Run:
    """Runs `aforo WORDS…` against the collector."""
    monkeypatch.setenv("AFORO_ENDPOINT", collector.url)

    def run(*words: str) -> Ran:
        code = COMMANDS[words[0]](list(words[1:]))
        said = capsys.readouterr()
        return Ran(code, said.out, said.err)

    return run


@pytest.fixture
def acme(collector: Running, tmp_path: Path) -> str:
    """A customer with one session of two calls, `{customer}-s`, under a catalog."""
    name = customer()
    document = json.dumps(catalog_for(name, recorded_metrics=["*"]))
    collector.http.put("/v1/catalog", content=document, headers={"Content-Type": "application/json"})
    parent, child = (make(name, aforo__session__id=f"{name}-s") for make in (chat, tool))
    child.trace_id, child.parent_span_id = parent.trace_id, parent.span_id
    collector.http.post("/v1/traces", content=body(parent, child), headers=PROTOBUF)
    return name


def test_lists_read_the_same_in_every_format(run: Run, acme: str) -> None:
    """table, json, ndjson and csv show the same events."""
    found = json.loads(run("event", "list", "--customer", acme, "--format", "json").out)
    lines = run("event", "list", "--customer", acme, "--format", "ndjson").out.splitlines()
    assert [json.loads(line) for line in lines] == found
    rows = list(csv.DictReader(io.StringIO(run("event", "list", "--customer", acme, "--format", "csv").out)))
    assert [(row["eventId"], row["quantity"]) for row in rows] == [
        (e["eventId"], e["quantity"]) for e in found
    ]
    table = run("event", "list", "--customer", acme).out.splitlines()
    assert len(table) == len(found) + 1
    assert all(event["eventId"] in line for event, line in zip(found, table[1:], strict=True))


@pytest.mark.parametrize("shape", ["table", "json", "ndjson", "csv"])
@pytest.mark.parametrize(
    "words",
    [
        "session list --customer {acme} --state ACTIVE",
        "session show {acme}-s",
        "session trace {acme}-s",
        "event list --session {acme}-s --metric agentic_api.tool_calls --corrections",
        "invoice preview {acme}",
        "invoice preview {acme} --line 0 --from 2020-01-01",
        "usage query --customer {acme} --metric agentic_api.tool_calls --group-by day,toolName --from 2020-01-01",
        "intake balance",
        "intake quarantine --limit 1",
        "price show gpt-4o-mini --provider openai",
        "price check",
    ],
)
def test_every_command_has_every_format(run: Run, acme: str, words: str, shape: str) -> None:
    """Exit 0, data on stdout in the shape that was asked for, and nothing on stderr."""
    ran = run(*words.format(acme=acme).split(), "--format", shape)
    assert (ran.code, ran.err) == (0, "")
    if shape == "json":
        json.loads(ran.out)
    if shape == "ndjson":
        assert all(isinstance(json.loads(line), dict) for line in ran.out.splitlines())
    if shape == "table":
        assert ran.out


def test_json_is_what_the_reading_endpoints_give(run: Run, collector: Running, acme: str) -> None:
    """A command prints the `data` of its endpoint, no more and no less."""
    for words, path in [
        (["session", "show", f"{acme}-s"], f"/v1/sessions/{acme}-s"),
        (["session", "trace", f"{acme}-s"], f"/v1/sessions/{acme}-s/trace"),
        (["session", "list", "--customer", acme], f"/v1/sessions?customerId={acme}"),
        (["invoice", "preview", acme], f"/v1/invoices/preview?customerId={acme}"),
        (["intake", "balance"], "/v1/intake/balance"),
        (
            ["usage", "query", "--customer", acme, "--group-by", "metricName,model"],
            f"/v1/analytics/usage?customerId={acme}&groupBy=metricName,model",
        ),
    ]:
        assert json.loads(run(*words, "--format", "json").out) == collector.data(path)


def test_a_tree_shows_tokens_and_cost(run: Run, acme: str) -> None:
    """The trace of a session is drawn with one line for each span, children below their parents."""
    root, call, tool_call = run("session", "trace", f"{acme}-s").out.splitlines()
    assert root == f"session {acme}-s"
    assert "chat gpt-4o-mini" in call
    assert "1100 tokens" in call
    assert "$0.00021" in call
    assert "execute_tool lookup" in tool_call
    assert tool_call.index("execute_tool") > call.index("chat")


def test_names_cannot_play_with_the_terminal(run: Run, collector: Running) -> None:
    """Tables and trees show control characters and markup of foreign names as what they are."""
    name = f"{customer()}[/red]\x1b[2J\t"
    collector.http.post(
        "/v1/traces", content=body(tool(name, name, aforo__session__id=name)), headers=PROTOBUF
    )
    for words in (["session", "list", "--customer", name], ["session", "trace", name]):
        out = run(*words).out
        assert "\x1b" not in out
        assert r"[/red]\x1b[2J\t" in out


def test_names_cannot_play_with_a_spreadsheet(run: Run) -> None:
    """What would be a formula in a cell of CSV is text there; every other format has it as it is."""
    acme = customer()
    names = [f"{sign}1+1 {acme}" for sign in "=+-@\t"]
    for name in names:
        assert run("event", "send", "api_calls", "1", "--customer", acme, "--key", name).code == 0
    text = run("event", "list", "--customer", acme, "--format", "csv").out
    assert [row["eventId"] for row in csv.DictReader(io.StringIO(text, newline=""))] == [
        f"'{n}" for n in names
    ]
    found = json.loads(run("event", "list", "--customer", acme, "--format", "json").out)
    assert [one["eventId"] for one in found] == names


def test_a_session_is_closed_by_command(run: Run, acme: str) -> None:
    """`session close` prints the closed session, and may be repeated."""
    for _ in range(2):
        ran = run("session", "close", f"{acme}-s", "--format", "json")
        assert (ran.code, json.loads(ran.out)["state"]) == (0, "CLOSED")


def test_long_lists_are_read_page_by_page(run: Run, collector: Running) -> None:
    """`--limit` counts over pages of the endpoint."""
    acme = customer()
    collector.http.post("/v1/traces", content=body(*[tool(acme) for _ in range(700)]), headers=PROTOBUF)
    lines = run("event", "list", "--customer", acme, "--limit", "1200", "--format", "ndjson").out.splitlines()
    assert len({json.loads(line)["eventId"] for line in lines}) == 1200


def test_the_catalog_goes_out_and_in_again(run: Run, acme: str, tmp_path: Path) -> None:
    """What `export` prints, TOML or JSON, is applied without changing anything; odd names survive."""
    odd = {"provider": "o", "model": 'q"\\é*', "from": "2026-01-31", "input_mtok": "1", "output_mtok": "2"}
    first = tmp_path / "first.json"
    first.write_text(json.dumps(catalog_for(acme, price_overrides=[odd], recorded_metrics=["*"])))
    assert json.loads(run("catalog", "apply", str(first), "--format", "json").out)["changed"] is True
    exported = json.loads(run("catalog", "export", "--format", "json").out)
    toml = run("catalog", "export")
    assert tomllib.loads(toml.out) == exported
    for name, text in [("again.toml", toml.out), ("again.json", json.dumps(exported))]:
        (tmp_path / name).write_text(text)
        ran = run("catalog", "apply", str(tmp_path / name))
        assert (ran.code, "nothing was changed" in ran.err) == (0, True)


@pytest.mark.parametrize(("name", "text"), [("a.toml", ""), ("a.toml", 'currency = "USD"'), ("a.json", "{}")])
def test_an_empty_file_empties_no_catalog_by_mistake(
    run: Run, acme: str, tmp_path: Path, name: str, text: str
) -> None:
    """Exit 2 and the catalog stays, unless that is what was asked for; then it may be applied again."""
    file = tmp_path / name
    file.write_text(text)
    before = run("catalog", "export").out
    ran = run("catalog", "apply", str(file))
    assert (ran.code, ran.out) == (2, "")
    assert "--empty" in ran.err
    assert run("catalog", "export").out == before
    for words in (("--empty",), ()):
        assert run("catalog", "apply", str(file), *words).code == 0
        assert acme not in run("catalog", "export").out


def test_an_amendment_says_what_it_changes(run: Run) -> None:
    """Without anything to change it is a wrong use, not a success that did nothing."""
    key = f"{customer()}-key"
    run("event", "send", "api_calls", "1", "--customer", "acme", "--key", key)
    ran = run("event", "amend", key)
    assert (ran.code, ran.out) == (2, "")
    assert "--quantity" in ran.err
    assert run("event", "amend", key, "--quantity", "2").code == 0


def test_a_wrong_catalog_fails_with_every_problem(run: Run, tmp_path: Path) -> None:
    """Exit 1; the problems are named on stderr with their paths."""
    file = tmp_path / "wrong.toml"
    file.write_text('currency = "euro"\nsurprise = 1\n')
    ran = run("catalog", "apply", str(file))
    assert (ran.code, ran.out) == (1, "")
    assert "currency" in ran.err
    assert "surprise" in ran.err


@pytest.mark.parametrize(
    ("words", "code"),
    [
        ("session show none", 3),
        ("session trace none", 3),
        ("session close none", 3),
        ("invoice preview none", 3),
        ("session show", 2),
        ("session fly", 2),
        ("session", 2),
        ("session list --state ASLEEP", 2),
        ("event list --trace xyz", 2),
        ("event list --format xml", 2),
        ("usage query --group-by planet", 2),
        ("usage query --from 2026-01-02 --to 2026-01-02", 2),
        ("invoice preview a --from yesterday", 2),
        ("catalog apply /no/such/file", 2),
        ('event send m 1 --customer a --metadata {"x":1e9999999999999999999}', 2),
        ("price show made-up-model", 3),
        ("session list --api-key wrong", 1),
        ("session list --endpoint http://127.0.0.1:9", 5),
        ("session list --api-key wröng", 2),
        ("session list --endpoint nonsense", 2),
        ("session list --endpoint http://[::1", 2),
        ("session list --endpoint http://localhost:99999", 2),
        ("session --help", 0),
    ],
)
def test_exit_codes_say_what_happened(run: Run, words: str, code: int) -> None:
    """0 ok, 1 failed, 2 usage, 3 not found, 5 unavailable; what went wrong is one sentence on stderr."""
    ran = run(*words.split())
    assert ran.code == code
    if code:
        assert ran.err
        assert "Traceback" not in ran.err


def test_a_name_leads_to_nothing_else(run: Run, collector: Running) -> None:
    """Whatever an id is made of, a command asks for the thing of that id, and never for another path."""
    acme = customer()
    ids = [f"{acme}{rest}" for rest in ("/..", "?x=1", "#1", "%2e%2e", "/../void", " é\N{GRINNING FACE}")]
    for event_id in (".", "..", *ids):
        sent = run("event", "send", "api_calls", "1", "--customer", acme, "--key", event_id)
        assert sent.code == 0, sent.err
        assert json.loads(run("event", "void", event_id, "--format", "json").out)[-1]["type"] == "void"
    for trick in ("../customers/x", "..", "x?y"):
        for words in (("sources", "remove"), ("sources", "rotate"), ("trigger", "--dry-run"), ("replay",)):
            ran = run("webhook", *words, trick)
            assert (ran.code, "there is no customer" in ran.err) == (3, False), (words, trick, ran)


def test_names_of_any_script_are_printed_in_any_locale(collector: Running) -> None:
    """What goes to a program is UTF-8, also where the locale knows ASCII alone."""
    acme = f"é\N{GRINNING FACE}{customer()}"
    collector.http.post("/v1/ingest", json={"customerId": acme, "metricName": "api_calls", "quantity": 1})
    for shape in ("json", "ndjson", "csv", "table"):
        command = [
            sys.executable,
            "-m",
            "aforo_collector",
            "event",
            "list",
            "--customer",
            acme,
            "--format",
            shape,
        ]
        environment = os.environ | {"PYTHONIOENCODING": "ascii", "AFORO_ENDPOINT": collector.url}
        ran = subprocess.run(command, env=environment, capture_output=True, check=True)
        assert acme in ran.stdout.decode()


def test_what_stays_in_quarantine_is_no_success(run: Run, collector: Running) -> None:
    """Assigning and replaying exit by what became of the item, and say why it stays."""
    acme, key = customer(), customer()
    events = [{"metricName": "api_calls", "quantity": 1, "idempotencyKey": key},
              {"metricName": "api_calls", "quantity": 2, "idempotencyKey": key},
              {"metricName": "no_such_unit", "quantity": 1}]  # fmt: skip
    collector.http.post("/v1/ingest/batch", json={"events": events})
    unknown, second, first = (
        item["quarantineId"] for item in json.loads(run("intake", "quarantine", "--format", "json").out)[:3]
    )
    for item, code, why in ((first, 0, ""), (second, 4, "other contents"), (unknown, 1, "no_such_unit")):
        ran = run("intake", "quarantine", "--assign", item, "--customer", acme)
        assert (ran.code, why in ran.err) == (code, True)
    assert run("intake", "quarantine", "--replay", unknown).code == 1


def test_unpriced_calls_fail_the_check(run: Run, collector: Running) -> None:
    """`price check` exits 1 and names the models that nobody knows a price of."""
    span = chat(customer(), gen_ai__request__model="made-up-model")
    collector.http.post("/v1/traces", content=body(span), headers=PROTOBUF)
    ran = run("price", "check", "--format", "json")
    [found] = [row for row in json.loads(ran.out) if row["model"] == "made-up-model"]
    assert (ran.code, found["calls"], found["reason"]) == (1, 1, "unknown_model")


def test_help_names_every_setting_and_command(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    """Each command has a summary, each option of `serve` its environment variable."""
    from aforo_collector.cli import demo, serve
    from aforo_collector.settings import Settings

    for main in [*COMMANDS.values(), db.main, serve.main, demo.main]:
        assert main(["--help"]) == 0
        assert (main.__doc__ or "") in " ".join(capsys.readouterr().out.split())
    assert serve.main(["--help"]) == 0
    shown = capsys.readouterr().out
    fields: dict[str, Any] = Settings.__dataclass_fields__
    for name, field in fields.items():
        assert (f"--{name.replace('_', '-')}" in shown) == field.metadata.get("flag", True)
        assert field.metadata["env"] in shown
