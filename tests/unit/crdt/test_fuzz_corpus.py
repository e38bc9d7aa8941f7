"""Every input that once was interesting to the fuzzer is read or refused by name."""

from tests.fuzz import fuzz_root
from tests.fuzz.driver import replay
from tests.fuzz.fuzz_envelope import CORPUS, one_input


def test_the_corpus_of_envelopes_is_read_or_refused_by_name() -> None:
    assert replay(one_input, CORPUS) >= 20


def test_the_corpus_of_roots_is_read_or_refused_by_name() -> None:
    assert replay(fuzz_root.one_input, fuzz_root.CORPUS) >= 20
