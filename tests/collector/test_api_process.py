"""A collector as a process: start, ready, stop, crash, and start again."""

import resource
import socket
import time
from pathlib import Path

import httpx2

from tests.collector.access import As, key_said
from tests.collector.catalogs import catalog_for
from tests.collector.running import Start
from tests.collector.wire import PROTOBUF, body, chat, customer, tool


def test_a_restart_keeps_everything(start: Start) -> None:
    """After SIGTERM and after SIGKILL all that was acknowledged reads the same, byte for byte."""
    acme, session_id = customer(), customer()
    paths = [
        f"/v1/sessions/{session_id}",
        f"/v1/sessions/{session_id}/trace",
        f"/v1/usage-events?customerId={acme}",
        "/v1/intake/balance",
        "/v1/intake/quarantine",
        "/v1/catalog",
    ]
    first = start("--dev")
    own = {"aforo__session__id": session_id}
    content = body(
        chat(acme, **own), tool(acme, **own), tool(None), chat(acme, gen_ai__usage__input_tokens=-1)
    )
    assert first.http.post("/v1/traces", content=content, headers=PROTOBUF).status_code == 200
    first.http.post(f"/v1/sessions/{session_id}/close")
    before = [first.http.get(path).content for path in paths]
    assert first.stop() == 0
    second = start("--dev")
    assert [second.http.get(path).content for path in paths] == before
    second.kill()
    third = start("--dev")
    assert [third.http.get(path).content for path in paths] == before


def test_what_waits_when_it_is_told_to_stop_is_still_answered(start: Start, tmp_path: Path) -> None:
    """SIGTERM ends it with 0, and a request that is on its way gets its answer first."""
    collector = start("--dev")
    acme = customer()
    content = body(tool(acme))
    head = (
        "POST /v1/traces HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-protobuf\r\n"
        f"Content-Length: {len(content)}\r\n\r\n"
    )
    url = httpx2.URL(collector.url)
    with socket.create_connection((url.host, url.port or 80), timeout=30) as connection:
        connection.sendall(head.encode() + content[:20])
        collector.http.get("/livez")  # the request above has been seen by now
        collector.process.terminate()
        connection.sendall(content[20:])
        assert connection.recv(100).startswith(b"HTTP/1.1 200")
    assert collector.stop() == 0
    assert start("--dev").data("/v1/usage-events", customerId=acme)


def test_a_folder_has_one_collector(start: Start) -> None:
    """A second one on the same folder says so, exits 4, and leaves the first alone."""
    first = start("--dev")
    second = start("--dev")
    assert (second.url, second.stop()) == ("", 4)
    assert "another collector" in second.said[-1]
    assert first.http.get("/readyz").status_code == 200


def test_a_full_disk_is_told_and_changes_nothing(start: Start) -> None:
    """While nothing can be written it is not ready and says 503, also to an operator; afterwards it goes on."""
    collector = start("--dev")
    forever = resource.RLIM_INFINITY
    before = collector.data("/v1/catalog")
    resource.prlimit(collector.process.pid, resource.RLIMIT_FSIZE, (0, forever))
    ready = collector.http.get("/readyz")
    assert (ready.status_code, ready.json()["code"]) == (503, "NOT_READY")
    event = {"customerId": "acme", "metricName": "api_calls", "quantity": 1, "idempotencyKey": "k"}
    for method, path, said in (
        ("PUT", "/v1/catalog", catalog_for("acme")),
        ("POST", "/v1/customers", {"id": "acme"}),
        ("POST", "/v1/ingest", event),
    ):
        refused = collector.http.request(method, path, json=said)
        assert (refused.status_code, refused.headers["Retry-After"]) == (503, "2"), refused.text
    assert collector.data("/v1/catalog") == before

    resource.prlimit(collector.process.pid, resource.RLIMIT_FSIZE, (forever, forever))
    assert collector.http.get("/readyz").status_code == 200
    assert collector.http.put("/v1/catalog", json=catalog_for("acme")).json()["meta"]["changed"]
    assert collector.http.post("/v1/ingest", json=event).json()["data"]["accepted"] == 1


def test_a_test_environment_that_could_not_be_made_is_made_whole_the_next_time(start: Start) -> None:
    """It begins with a copy of the live catalog that is on disk, even if the disk was full at first."""
    collector = start()
    owner = As(collector, key_said(collector))
    sold = owner("PUT", "/v1/catalog", json=catalog_for("acme")).json()["data"]
    forever = resource.RLIM_INFINITY
    resource.prlimit(collector.process.pid, resource.RLIMIT_FSIZE, (0, forever))
    assert owner("POST", "/v1/api-keys", json={"environment": "test"}).status_code == 503
    resource.prlimit(collector.process.pid, resource.RLIMIT_FSIZE, (forever, forever))
    secret = owner.made(environment="test", scopes=["admin"])["secret"]
    collector.kill()
    assert As(start(), secret).data("/v1/catalog") == sold


def test_a_port_that_is_taken_is_said_before_anything_is_made(start: Start, tmp_path: Path) -> None:
    """Exit 5 and no data folder when it cannot listen."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        collector = start("--dev", "--port", str(port))
    assert (collector.url, collector.stop()) == ("", 5)
    assert not (tmp_path / "data").exists()


def test_a_file_that_is_no_store_is_left_as_it_is(start: Start, tmp_path: Path) -> None:
    """A damaged or foreign database is refused with exit 1 and not touched."""
    file = tmp_path / "data" / "aforo.db"
    file.parent.mkdir()
    file.write_bytes(b"not a database, but somebody's" * 100)
    before = file.read_bytes()
    collector = start("--dev")
    assert (collector.url, collector.stop()) == ("", 1)
    assert "Nothing was changed" in " ".join(collector.said)
    assert file.read_bytes() == before


def test_flags_win_over_the_environment(start: Start, tmp_path: Path) -> None:
    """A setting comes from its flag, else its variable, else its default; a wrong one exits 2 by name."""
    collector = start("--body-bytes-max", "2000", AFORO_DEV="1", AFORO_BODY_BYTES_MAX="10")
    post = collector.http.post
    assert post("/v1/traces", content=b"x" * 1999, headers=PROTOBUF).status_code == 400
    assert post("/v1/traces", content=b"x" * 2001, headers=PROTOBUF).status_code == 413
    wrong = start(AFORO_SESSION_IDLE_S="soon", AFORO_DATA=str(tmp_path / "other"))
    assert (wrong.url, wrong.stop()) == ("", 2)
    assert "AFORO_SESSION_IDLE_S" in wrong.said[-1]


def test_sessions_close_by_time_and_over_restarts(start: Start) -> None:
    """A session whose time ran out while the collector was down is closed when it is back."""
    acme, session_id = customer(), customer()
    timing = ("--session-idle-s", "1", "--session-timeout-s", "2")
    first = start("--dev", *timing)
    first.http.post("/v1/traces", content=body(tool(acme, aforo__session__id=session_id)), headers=PROTOBUF)
    assert first.data(f"/v1/sessions/{session_id}")["state"] == "ACTIVE"
    first.kill()
    time.sleep(2)
    second = start("--dev", *timing)
    while (session := second.data(f"/v1/sessions/{session_id}"))["state"] != "CLOSED":
        time.sleep(0.1)
    assert session["closeReason"] == "TIMEOUT"
    events = second.data("/v1/usage-events", sessionId=session_id, metricName="agentic_api.sessions")
    assert [event["closeReason"] for event in events] == ["TIMEOUT"]
