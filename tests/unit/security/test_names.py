"""Names people give and names nobody gave, and the secret that hides."""

import pickle

import pytest

from meshnode.kernel.rng import fork
from meshnode.model.errors import Invalid
from meshnode.security.names import check_name, generated_name, valid_labels, valid_name, valid_region, valid_roles
from meshnode.security.secret import Secret


@pytest.mark.parametrize("name", ["a", "7", "nano-7", "eu.plant-3.cell", "a" * 63, "a--b"])
def test_plain_names_are_accepted(name: str) -> None:
    assert valid_name(name)
    check_name(name)


@pytest.mark.parametrize(
    "name", ["", "-a", "a-", ".a", "a.", "A", "ä", "a_b", "a b", "a/b", "a\n", "a" * 64, "../x", "%41"]
)
def test_other_names_are_refused_with_the_rule(name: str) -> None:
    assert not valid_name(name)
    with pytest.raises(Invalid) as refused:
        check_name(name)
    assert "a-z" in refused.value.next_step


def test_generated_names_are_names_and_follow_the_given_luck() -> None:
    names = [generated_name(fork(bytes((number,)), "names")) for number in range(200)]
    assert all(valid_name(name) for name in names)
    assert len({*names}) > 190
    assert names[0] == generated_name(fork(b"\0", "names"))


def test_words_of_members_are_bounded() -> None:
    assert valid_region("")
    assert not valid_region("eu west")
    assert not valid_roles(["member"] * 17)
    assert not valid_roles([""])
    assert valid_labels({"site": "plant-7", "empty": ""})
    assert not valid_labels({"": "x"})
    assert not valid_labels({str(number): "x" for number in range(33)})


def test_a_secret_hides_and_still_compares() -> None:
    secret = Secret(b"hunter2")
    assert "hunter2" not in f"{secret} {secret!r}"
    assert secret == Secret(b"hunter2")
    assert secret != Secret(b"hunter3")
    assert secret.reveal() == b"hunter2"
    with pytest.raises(TypeError, match="not pickled"):
        pickle.dumps(secret)
