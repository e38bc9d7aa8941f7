"""Inputs that fuzzing started from, or once broke something with, stay harmless."""

import pytest

from meshnode.model.errors import RemoteError
from tests.fuzz import fuzz_clienthello, fuzz_enrolment
from tests.fuzz.driver import replay


def test_the_corpus_of_client_hellos_is_harmless() -> None:
    assert replay(fuzz_clienthello.one_input, fuzz_clienthello.CORPUS) >= 14


def test_the_corpus_of_enrolment_is_harmless() -> None:
    assert replay(fuzz_enrolment.one_input, fuzz_enrolment.CORPUS) >= 7


@pytest.mark.parametrize("name", ["request", "answer", "greeting", "token", "bundle", "member"])
def test_each_door_opens_for_its_honest_input(name: str) -> None:
    """Else the fuzzer would only ever see the first refusal."""
    fuzz_enrolment.one_input((fuzz_enrolment.CORPUS / name).read_bytes())


def test_a_door_is_shut_for_a_dishonest_input() -> None:
    with pytest.raises(RemoteError) as refused:
        fuzz_enrolment.one_input((fuzz_enrolment.CORPUS / "request").read_bytes()[:-2])
    assert refused.value.reason == "malformed"
