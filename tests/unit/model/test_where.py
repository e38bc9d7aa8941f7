"""Constraints hold or say why not; what is no constraint says what to write instead."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshnode.model.errors import Invalid
from meshnode.model.quantity import BadQuantity, parse_quantity
from meshnode.model.where import Attribute, Constraint, misses, parse_where, unfit

NODE: dict[str, Attribute] = {
    "gpu_mem": 0, "mem": 8 * 1024**3, "cpus": 4.0, "site": "plant-7", "arch": "aarch64", "region": "eu", "load": "0.5",
    "hot": float("nan"), "zone": "1e3x",
}  # fmt: skip


@pytest.mark.parametrize(
    ("where", "reason"),
    [
        ("", ""),
        (" , ", ""),
        ("site=plant-7", ""),
        ("site==plant-7, cpus >= 4 ,arch=aarch64,region=eu", ""),
        ("mem>=8Gi", ""),
        ("mem=8Gi", ""),
        ("mem>8Gi", f"mem is {8 * 1024**3}, not more than 8Gi"),
        ("mem<8Gi", f"mem is {8 * 1024**3}, not less than 8Gi"),
        ("mem<=4Gi", f"mem is {8 * 1024**3}, more than 4Gi"),
        ("cpus>=500m,load<=500m", ""),
        ("gpu_mem>=2Gi", "gpu_mem is 0, less than 2Gi"),
        ("site=plant-8", "site is plant-7, not plant-8"),
        ("site!=plant-7", "site is plant-7"),
        ("site!=plant-8", ""),
        ("cpus=4", ""),
        ("cpus!=4", "cpus is 4"),
        ("cpus>=8,site=plant-8", "cpus is 4, less than 8"),
        ("wheels>=4", "wheels is not known of it"),
        ("wheels!=4", "wheels is not known of it"),
        ("site>=4", "site is plant-7, which is no number"),
        ("hot>=1", "hot is nan, which is no number"),
    ],
)
def test_a_constraint_holds_or_says_why_not(where: str, reason: str) -> None:
    assert unfit(parse_where(where), NODE) == reason


@pytest.mark.parametrize("part", ["fast", ">=2", "gpu mem>=2", "a=b=c", "cpus>=", "=", "a>=>2", "ä=1", "cpus=>4"])
def test_what_is_no_constraint_is_named_with_what_to_write(part: str) -> None:
    with pytest.raises(Invalid) as caught:
        parse_where(f"site=plant-7,{part}")
    assert repr(part.strip()) in caught.value.message
    assert "gpu_mem>=2Gi" in caught.value.next_step


@given(
    st.from_regex(r"[0-9]{0,20}(\.[0-9])?(Ki|Mi|Gi|Ti|Pi|k|m|e3|g)?", fullmatch=True), st.sampled_from(["<", ">=", "="])
)
def test_a_number_is_read_as_a_quantity_is(text: str, operator: str) -> None:
    """The quick way for whole numbers and the exact one agree."""
    try:
        exact = parse_quantity(text)
    except BadQuantity:
        exact = None
    for mine in (0, 1, 1000, 1024, 17 << 30, 2**63 - 1):
        part = Constraint("x", operator, text)
        if exact is None:
            assert unfit((part,), {"x": mine}), "no number is less, more or equal"
            continue
        holds = {"<": mine < exact, ">=": mine >= exact, "=": mine == exact}[operator]
        assert (unfit((part,), {"x": mine}) == "") == holds


@given(st.sampled_from(("=", "!=", ">=")), st.sampled_from(("a", "4", "4.0", "x" * 60, "inf", "1e3x")), st.data())
def test_a_quick_look_misses_nothing_that_fits(operator: str, wanted: str, data: st.DataObject) -> None:
    values: tuple[Attribute, ...] = (
        "a",
        "b",
        "4",
        "4.00",
        4,
        4.0,
        5,
        "x" * 60,
        "x" * 61,
        "y" * 80,
        float("inf"),
        "inf",
    )
    value = data.draw(st.sampled_from(values))
    part = Constraint("x", operator, wanted)
    if misses(part)(value):
        assert unfit((part,), {"x": value})


def test_a_quantity_that_is_none_is_explained() -> None:
    with pytest.raises(Invalid) as caught:
        parse_where("gpu_mem>=2gb")
    assert "'gpu_mem>=2gb'" in caught.value.message
    assert "Gi" in caught.value.next_step


def test_endless_constraints_are_refused() -> None:
    with pytest.raises(Invalid, match="17 constraints"):
        parse_where(",".join(["a=1"] * 17))
    with pytest.raises(Invalid, match="characters"):
        parse_where("a" * 2_000)


@given(st.text(max_size=60))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        constraints = parse_where(text)
    except Invalid:
        return
    assert len(constraints) <= 16
    assert isinstance(unfit(constraints, NODE), str)
