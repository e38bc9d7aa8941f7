"""A region as its catalogue and its summary see it: offers of agents at work, machines, what they have to spare."""

import msgspec

from hw.vector import LoadVector
from meshnode.node.inputs import HardwareProbed, LoadSampled
from meshnode.node.survey import RegionSurvey
from tests.unit.node.mesh import Box, Mesh

FACTS = {
    "cpu": {"usable": 8.0},
    "memory": {"limit_bytes": 16 * 2**30},
    "accelerators": [{"memory_bytes": 24 * 2**30}, {"memory_bytes": 8 * 2**30}],
}


def furnished() -> tuple[Mesh, list[Box]]:
    mesh = Mesh()
    boxes = mesh.start("alpha", "beta")
    for box in boxes:
        box.tell(HardwareProbed(msgspec.json.encode(FACTS)))
    boxes[0].tell(LoadSampled(LoadVector().pack()))
    boxes[1].tell(LoadSampled(LoadVector(cpu_percent=25, memory_percent=50, accelerator_memory_percent=75).pack()))
    mesh.run(2_000_000)
    return mesh, boxes


def test_offers_are_those_of_agents_at_work_in_the_own_region() -> None:
    mesh, boxes = furnished()
    mesh.run_agent(boxes[1], "words", "words.count")
    mesh.run(2_000_000)
    survey = RegionSurvey(boxes[0].core)
    assert [(skill, node) for skill, _, node in survey.offers()] == [("words.count", boxes[1].core.config.node)]
    assert survey.best(boxes[1].core.config.node) == "gpu-24g"


def test_gauges_count_what_is_free_and_nothing_where_that_is_not_known() -> None:
    _, boxes = furnished()
    unknown, loaded = sorted(RegionSurvey(boxes[0].core).gauges(), key=lambda gauge: gauge.cpu_free_millis)
    assert (unknown.cpu_free_millis, unknown.memory_free_mib, unknown.gpu_free_mib) == (0, 0, 0)
    assert (loaded.cpu_free_millis, loaded.memory_free_mib, loaded.gpu_free_mib) == (6_000, 8 * 1024, 8 * 1024)
    assert (loaded.best, unknown.best) == ("gpu-24g", "gpu-24g")


def test_a_load_of_another_shape_counts_as_nothing_free() -> None:
    mesh, boxes = furnished()
    boxes[1].tell(LoadSampled(b"junk"))
    mesh.run(2_000_000)
    assert sum(gauge.memory_free_mib for gauge in RegionSurvey(boxes[0].core).gauges()) == 0
