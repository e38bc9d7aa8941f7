"""A gateway beside real nodes: its history is whole whatever is killed or cut, and what is asked of it is done."""

import http.client
import signal
import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.gateway import postgres_kit as postgres
from tests.gateway.test_service_settings import certificate
from tests.real.daemon_kit import Cuttable, Daemon, Daemons, run_echo, shell, until
from tests.real.gateway_kit import GatewayProcess, differences, happens, journal_of, newest

pytestmark = pytest.mark.real


@pytest.fixture
def daemons(tmp_path: Path) -> Iterator[Daemons]:
    with Daemons(tmp_path) as daemons:
        yield daemons


@pytest.fixture(scope="module")
def lone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """One node for those whose question is the gateway beside it; whatever they start there ends with them."""
    with Daemons(tmp_path_factory.mktemp("lone")) as daemons:
        yield daemons.start("alpha")


def whole(gateway: GatewayProcess, *nodes: Daemon) -> None:
    for node in nodes:
        until(lambda at=node: not differences(gateway, at), f"all of {node.directory.name}'s journal is there, once")


def test_the_fleet_is_shown_as_the_node_knows_it(daemons: Daemons) -> None:
    alpha, _beta = daemons.mesh("alpha", "beta")
    run_echo(alpha)
    with GatewayProcess(alpha.directory) as gateway:
        until(lambda: len(gateway.items("/nodes")) == 2, "both nodes")
        until(lambda: [row["state"] for row in gateway.items("/instances")] == ["running"], "the agent")
        until(lambda: gateway.items("/skills"), "its skill")
        (wish,) = until(lambda: gateway.items("/clusters"), "its document")
        assert (wish["name"], wish["wanted"], wish["pending"]) == ("echo", 1, 0)
        until(lambda: gateway.get("/overview")["nodes"] == {"ready": 2}, "the overview")
        until(lambda: not gateway.get("/overview")["stale"], "what is shown is fresh")
        assert gateway.get("/nodes/beta/links")["items"][0]["peer"] == "alpha"
        assert gateway.get("/why/node/beta")["item"]["events"]
        until(lambda: "gateway" in alpha.ask.status().readers, "the node says who reads its journal")


def test_history_is_whole_after_the_gateway_was_killed_while_things_happened(daemons: Daemons) -> None:
    alpha, beta = daemons.mesh("alpha", "beta")
    with GatewayProcess(alpha.directory) as gateway:
        happens(beta, 20)
        until(lambda: gateway.cursor("beta")["number"] > 0, "it reads")
        gateway.kill()
    happens(alpha, 10)
    happens(beta, 700)  # more than a page
    with GatewayProcess(alpha.directory) as again:
        happens(beta, 5)
        whole(again, alpha, beta)
        assert not again.items("/gaps")


def test_a_gateway_that_loses_an_event_is_found_out(daemons: Daemons) -> None:
    alpha = daemons.start("alpha")
    happens(alpha, 20)
    with GatewayProcess(alpha.directory, program=("tests.faults.gateway", "skip-event")) as gateway:
        last = newest(alpha)
        until(lambda: gateway.cursor("alpha")["number"] >= last, "it says it has all")
        assert any(fault.startswith("missing") for fault in differences(gateway, alpha))


def test_what_a_node_lived_through_alone_arrives_when_it_is_back(tmp_path: Path) -> None:
    with Cuttable(tmp_path, "alpha", "beta") as daemons:
        alpha, beta = daemons.mesh("alpha", "beta")
        with GatewayProcess(alpha.directory) as gateway:
            whole(gateway, alpha, beta)
            daemons.cut(("alpha", "beta"))
            until(lambda: gateway.cursor("beta").get("missing"), "its journal is said to be missing", 30)
            happens(beta, 30)
            problems = gateway.items("/problems")
            assert any(row["text"].startswith("beta ") for row in problems), problems
            daemons.heal()
            until(lambda: alpha.ask.node("beta").state == "ready", "beta is back", 30)
            whole(gateway, alpha, beta)
            until(lambda: not gateway.cursor("beta")["missing"], "nothing is missing", 30)
            assert not gateway.items("/gaps")


def test_a_node_that_lost_its_journal_begins_another_life(daemons: Daemons) -> None:
    alpha, beta = daemons.mesh("alpha", "beta")
    with GatewayProcess(alpha.directory) as gateway:
        happens(beta, 3)
        whole(gateway, beta)
        beta.kill()
        (beta.directory / "journal").unlink()
        # Its boots count from 1 again: it takes itself for a copy of the node that the others know, once.
        assert daemons.start("beta", "--seed", alpha.listen).ends(40) == 4
        beta = daemons.start("beta", "--seed", alpha.listen)
        happens(beta, 3)
        until(lambda: gateway.cursor("beta")["life"] == 2, "the second life", 40)
        until(lambda: not differences(gateway, beta, life=2), "all of it is there")
        (gap,) = gateway.items("/gaps", node="beta")
        assert (gap["life"], gap["last"]) == (1, 0)
        assert gateway.history("beta", life=1)


def test_what_is_asked_of_the_gateway_is_done_and_said_to_be(daemons: Daemons) -> None:
    alpha, beta = daemons.mesh("alpha", "beta")
    assert shell(alpha.directory, "run", "examples/words.py").code == 0
    with GatewayProcess(alpha.directory) as gateway:

        def state(command: str) -> str:
            return gateway.get(f"/commands/{command}")["item"]["state"]

        scaling = gateway.request("scale", name="words", replicas=2)
        until(lambda: state(scaling) == "applied", "two run", 30)
        draining = gateway.request("drain", node="beta")
        until(lambda: state(draining) == "applied", "beta is empty", 40)
        assert beta.ask.node("beta").drained
        resuming = gateway.request("resume", node="beta")
        until(lambda: state(resuming) == "applied", "beta takes work again")
        refused = gateway.request("delete", kind="Agent", namespace="default", name="nobody")
        until(lambda: state(refused) == "failed", "the node refuses")
        assert "nobody" in gateway.get(f"/commands/{refused}")["item"]["answer"]


def test_without_its_node_it_serves_what_it_has_and_queues_what_is_asked(daemons: Daemons) -> None:
    alpha = daemons.start("alpha")
    assert shell(alpha.directory, "run", "examples/words.py").code == 0
    with GatewayProcess(alpha.directory) as gateway:
        whole(gateway, alpha)
        until(lambda: gateway.items("/nodes"), "the node")
        gateway.kill()
    before = journal_of(alpha)
    alpha.signal(signal.SIGTERM)
    alpha.ends()
    with GatewayProcess(alpha.directory) as gateway:
        assert "does not answer" in gateway.line
        until(lambda: "no daemon runs" in gateway.log(), "it says that its node is away")
        assert [row["name"] for row in gateway.items("/nodes")] == ["alpha"]
        assert gateway.history("alpha")[: len(before)] == before
        until(lambda: gateway.get("/overview")["stale"], "it says that it is stale")
        asked = gateway.request("scale", name="words", replicas=2)
        until(lambda: "no daemon" in gateway.get(f"/commands/{asked}")["item"]["answer"], "it says why it waits")
        assert gateway.get(f"/commands/{asked}")["item"]["state"] == "queued"
        alpha = daemons.start("alpha")
        until(lambda: gateway.get(f"/commands/{asked}")["item"]["state"] == "applied", "done when the node is back", 30)
        until(lambda: not gateway.get("/overview")["stale"], "it is fresh again")
        whole(gateway, alpha)


def test_it_ends_in_order_with_an_open_feed_and_takes_its_port_again(lone: Daemon) -> None:
    with GatewayProcess(lone.directory) as gateway:
        url = gateway.url
        feed = http.client.HTTPConnection(gateway.host, timeout=10)
        feed.request("GET", "/api/v1/watch")
        answer = feed.getresponse()
        assert b"event: hello" in [answer.readline().strip() for _ in range(6)]
        assert gateway.end() == 0
        feed.close()
    with GatewayProcess(lone.directory) as again:
        assert again.url == url
        assert again.end(signal.SIGINT) in (0, 130)


def test_a_member_may_open_its_own_page_but_not_serve_the_fleet(daemons: Daemons) -> None:
    alpha, beta = daemons.mesh("alpha", "beta")
    happens(alpha, 3)
    shell(beta.directory, "gateway").refused(4, "beta", "member", "invite --role gateway", "meshnode ui")
    with GatewayProcess(beta.directory, "--local", "--no-open") as page:
        until(lambda: len(page.items("/nodes")) == 2, "what beta knows")
        whole(page, beta)
        assert not page.history("alpha"), "whose journal beta may not read"
        assert not [row for row in page.items("/problems") if "journal" in row["text"]]
        assert not (beta.directory / "gateway").exists(), "nothing is kept"


def test_who_cannot_read_what_the_gateway_stores_is_not_told(lone: Daemon) -> None:
    """Everything of a gateway is its owner's: the history and the token."""
    with GatewayProcess(lone.directory):
        pass
    home = lone.directory / "gateway"
    assert home.stat().st_mode & 0o077 == 0
    assert (home / "token").stat().st_mode & 0o077 == 0


def test_ui_is_typed_like_any_other_verb(lone: Daemon) -> None:
    with GatewayProcess(lone.directory, "--no-open", verb="ui") as page:
        until(lambda: [row["name"] for row in page.items("/nodes")] == ["alpha"], "its own node")
        assert page.ask("GET", "/api/v1/nodes", host="evil.example")[0] != 200


def test_where_others_can_connect_everything_needs_tls_and_the_token(lone: Daemon, tmp_path: Path) -> None:
    cert, key = certificate(tmp_path)
    token_file = tmp_path / "token"
    token_file.write_text("a-token-that-nobody-guesses\n")
    words = ("--listen", "0.0.0.0:0", "--tls-cert", str(cert), "--tls-key", str(key), "--token-file", str(token_file))
    shell(lone.directory, "gateway", "--listen", "0.0.0.0:0").refused(4, "TLS", "--token-file")
    with GatewayProcess(lone.directory, *words) as gateway:
        assert gateway.url.startswith("https://")
        assert "nobody-guesses" not in gateway.line, "who listens on all addresses may have its output read by others"
        port = int(gateway.url.rstrip("/").rpartition(":")[2])
        trusted = ssl.create_default_context(cafile=str(cert))

        def status(**headers: str) -> int:
            door = http.client.HTTPSConnection("127.0.0.1", port, timeout=10, context=trusted)
            try:
                door.request("GET", "/api/v1/nodes", headers=headers)
                return door.getresponse().status
            finally:
                door.close()

        assert status() == 401
        assert status(Authorization="Bearer another-token-altogether") == 401
        assert status(Authorization="Bearer a-token-that-nobody-guesses") == 200
        plain = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        plain.request("GET", "/api/v1/nodes")
        with pytest.raises((OSError, http.client.HTTPException)):
            plain.getresponse()
        plain.close()


@pytest.mark.postgres
@postgres.needs_postgres
def test_of_two_gateways_on_one_database_one_reads_and_the_other_takes_over(daemons: Daemons) -> None:
    alpha, beta = daemons.mesh("alpha", "beta")
    with (
        postgres.server() as server,
        postgres.database(server, "gateway") as url,
        GatewayProcess(alpha.directory, "--store", url) as one,
    ):
        until(lambda: one.cursor("beta")["number"], "the first reads")
        with GatewayProcess(alpha.directory, "--store", url) as other:
            assert other.url != one.url
            happens(beta, 20)
            whole(other, alpha, beta)  # read by the one, shown by both
            puller = one.get("/overview")["source"]["puller"]
            assert other.get("/overview")["source"]["puller"] == puller
            one.kill()
            happens(beta, 20)
            until(lambda: other.get("/overview")["source"]["puller"] not in ("", puller), "the other reads now", 30)
            whole(other, alpha, beta)
            assert not other.items("/gaps")


def test_ui_opens_the_page_with_its_token_in_the_browser(
    lone: Daemon, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = tmp_path / "opened"
    browser = tmp_path / "browser.sh"
    browser.write_text(f'#!/bin/sh\necho "$1" > {opened}.part && mv {opened}.part {opened}\n')
    browser.chmod(0o700)
    monkeypatch.setenv("BROWSER", f"{browser} %s")
    with GatewayProcess(lone.directory, verb="ui") as page:
        until(opened.exists, "the browser was called")
        assert opened.read_text().strip() == f"{page.url}/#token={page.token}"
