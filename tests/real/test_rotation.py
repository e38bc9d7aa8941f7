"""Certificates are renewed on running daemons, under calls: none fails, none runs twice, new links show the new one."""

import contextlib
import signal
import threading
from collections.abc import Generator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from meshnode.model.errors import LocalError
from tests.real.daemon_kit import ROOT, Daemon, Daemons, until
from tests.real.mesh_kit import call, run

pytestmark = pytest.mark.real

CALLERS = 6
CUTTING = (str(ROOT / "tests" / "real" / "cutting_daemon.py"),)


@dataclass
class Load:
    """Calls that never rest. ``done``: answered; ``failed``: what was said instead."""

    at: Daemon
    done: int = 0
    failed: list[str] = field(default_factory=list[str])
    over: threading.Event = field(default_factory=threading.Event)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def go_on(self) -> None:
        while not self.over.is_set():
            try:
                call(self.at, "of-alpha.add")
            except LocalError as error:
                with self._lock:
                    self.failed.append(error.message)
            else:
                with self._lock:
                    self.done += 1


@contextlib.contextmanager
def loaded(at: Daemon) -> Generator[Load]:
    load = Load(at)
    threads = [threading.Thread(target=load.go_on) for _ in range(CALLERS)]
    for thread in threads:
        thread.start()
    try:
        yield load
    finally:
        load.over.set()
        for thread in threads:
            thread.join()


def renewed(daemon: Daemon, load: Load) -> None:
    """It has another certificate, the link stands on that, and calls went on beyond it."""
    before, replaced = daemon.ask.identity().certificate_sha256, counter(daemon, "links.link-replaced")
    daemon.signal(signal.SIGUSR1)
    until(lambda: daemon.ask.identity().certificate_sha256 != before, "a new certificate")
    until(lambda: counter(daemon, "links.link-replaced") > replaced or load.failed, "a new link has taken over")
    done = load.done
    until(lambda: load.done > done + 50 or load.failed, "calls go on")


def counter(daemon: Daemon, name: str) -> int:
    return daemon.ask.status().counters.get(name, 0)


def test_no_call_is_lost_or_doubled_while_both_nodes_renew_their_certificates(tmp_path: Path) -> None:
    with Daemons(tmp_path) as daemons:
        alpha, beta = daemons.mesh("alpha", "beta")
        run(alpha, "of-alpha", "--on", "alpha", known=(beta,))
        with loaded(beta) as load:
            renewed(beta, load)  # by alpha's hand, over the enrolment door
            renewed(alpha, load)  # by its own
        assert load.failed == [] and load.done > 100
        assert call(beta, "of-alpha.total").result == load.done
        assert any("certificate renewed" in event.text for event in beta.ask.why("node/beta").events)
        shown = beta.ask.identity().certificate_sha256
        beta.signal(signal.SIGTERM)
        assert beta.ends() == 0
        beta = daemons.start("beta")
        assert beta.ask.identity().certificate_sha256 == shown
        until(lambda: alpha.ask.node("beta").path == "direct", "the new one is let in")


def test_links_that_are_cut_for_it_are_noticed(tmp_path: Path) -> None:
    """The planted fault: the link and its session end with the old certificate."""
    with Daemons(tmp_path) as daemons:
        alpha = daemons.start("alpha")
        joined = daemons.join(alpha, "beta")
        joined.signal(signal.SIGTERM)
        assert joined.ends() == 0
        beta = daemons.start("beta", program=CUTTING)
        run(alpha, "of-alpha", "--on", "alpha", known=(beta,))
        with loaded(beta) as load:
            until(lambda: again(beta) and load.failed, "calls fail", within_s=40.0)


def again(daemon: Daemon) -> bool:
    """One renewal meets no call in flight now and then."""
    daemon.signal(signal.SIGUSR1)
    return True
