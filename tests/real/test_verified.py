"""``state verify`` beside a running node, where none runs, and over a journal with a flipped bit."""

import json
from pathlib import Path

import pytest

from tests.real.daemon_kit import Daemons, cli

pytestmark = pytest.mark.real
DOCUMENT = "apiVersion: v1\nkind: AgentCluster\nmetadata: {{name: line-{0}}}\nspec: {{replicas: {0}}}\n"


def test_the_journal_is_made_into_documents_again_and_damage_is_named(tmp_path: Path) -> None:
    with Daemons(tmp_path) as daemons:
        alpha = daemons.start("alpha")
        file = tmp_path / "lines.yaml"
        file.write_text("---\n".join(DOCUMENT.format(number) for number in range(5)))
        assert cli(alpha.directory, "apply", "-f", str(file)).code == 0
        said = cli(alpha.directory, "state", "verify")
        assert said.code == 0, said
        assert "5 from 0 roots and 5 writes" in said.out
        assert "the running node has the same" in said.out
        cli(alpha.directory, "down")
        said = cli(alpha.directory, "state", "verify", "-o", "json")
        assert said.code == 0, said
        whole = json.loads(said.out)
        assert (whole["documents"], whole["running_root"]) == (5, "")
        journal = alpha.directory / "journal"
        data = bytearray(journal.read_bytes())
        data[data.index(b"line-3") + 2] ^= 1
        journal.write_bytes(data)
        said = cli(alpha.directory, "state", "verify")
        assert said.code == 1, said
        assert "1 unreadable pieces" in said.out
        assert "4 from 0 roots and 4 writes" in said.out


def test_a_directory_without_a_journal_is_refused(tmp_path: Path) -> None:
    cli(tmp_path, "state", "verify").refused(3, "journal", "-C DIR")
