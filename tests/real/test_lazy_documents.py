"""A document acknowledged from memory, on real nodes: said by name, and brought back by a peer after a SIGKILL."""

from pathlib import Path

import pytest

from tests.real.daemon_kit import Daemons, cli, until

pytestmark = pytest.mark.real
DOCUMENT = "apiVersion: v1\nkind: AgentCluster\nmetadata: {name: lazily}\nspec: {replicas: 3}\n"


def test_a_peer_gives_a_lazy_document_back_to_a_node_that_was_killed_at_once(tmp_path: Path) -> None:
    with Daemons(tmp_path) as daemons:
        alpha = daemons.start("alpha")
        beta = daemons.join(alpha, "beta")
        until(lambda: beta.ask.status().peers_connected == 1, "beta is linked")
        file = tmp_path / "lazily.yaml"
        file.write_text(DOCUMENT)
        said = cli(alpha.directory, "apply", "-f", str(file), "--durability", "lazy")
        assert (said.code, "(lazy)" in said.out) == (0, True), said
        until(lambda: beta.ask.documents(name="lazily"), "beta was told before anything was on a disk")
        alpha.kill()
        alpha = daemons.start("alpha")
        until(lambda: alpha.ask.documents(name="lazily"), "beta brought it back")
        said = cli(alpha.directory, "apply", "-f", str(file), "--durability", "often")
        said.refused(2, "durability", "lazy")
