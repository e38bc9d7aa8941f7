"""Who is measured beside ours: what it reached is told, and who could not be had is named with the reason."""

from pathlib import Path

import pytest

from bench.anchors import beside as anchors
from bench.talk import beside, rivals
from bench.talk.effort import QUICK


def test_one_that_cannot_start_has_no_figure_and_says_why():
    def absent() -> anchors.Server:
        raise anchors.Missing("no such package here")

    made = rivals.Rivals()
    made.start(rivals.RAY, absent)
    made.round(QUICK)
    assert made.ms(rivals.RAY).value is None
    assert made.rate(rivals.RAY).why == "not measured: no such package here"
    assert "Ray not measured: no such package here" in made.told()


def test_one_that_breaks_in_a_round_is_out_of_the_rest(tmp_path: Path):
    script = tmp_path / "breaks.py"
    script.write_text("print('{}', flush=True)\ninput()\nprint('{\"us\": [5.0, 7.0], \"calls_s\": 9.0}', flush=True)")
    made = rivals.Rivals()
    made.start(rivals.NATS, lambda: anchors.Server(script.name, ["python3", str(script)]))
    made.round(QUICK)
    assert (made.ms(rivals.NATS).value, made.rate(rivals.NATS).value) == (0.007, 9.0)
    made.round(QUICK)
    assert made.rate(rivals.NATS).value is None
    assert "it ended with 0" in made.ms(rivals.NATS).why
    made.close()


def test_the_first_round_only_warms():
    made = rivals.Rivals()
    made.taken[rivals.ASYNCIO] = rivals.Taken([1.0], [2.0])
    made.forget()
    assert made.rate(rivals.ASYNCIO).value is None


def test_autogen_without_its_environment_names_its_packages(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(beside, "AUTOGEN", beside.Environment(beside.ROOT / "build" / "none", ("nothing==0",)))
    monkeypatch.setattr(beside, "_told", lambda _: False)
    with pytest.raises(anchors.Missing, match="nothing==0"):
        rivals.autogen()
