"""The daemon and the simulator drive one and the same machine, built from one and the same kind of config."""

import ast
from pathlib import Path

import meshnode
from meshnode.daemon import wiring
from meshnode.node.config import NodeConfig, NodePorts
from meshnode.node.core import Core
from meshnode.sim import node as simulated
from meshnode.sim.world import Setup, World
from tests.house.syntax import every, sources, tree

ROOT = Path(meshnode.__file__).parent


def constructions(of: str) -> list[str]:
    """Files of the product in which ``of(...)`` is called."""
    found: list[str] = []
    for path in sources("meshnode", holding=f"{of}("):
        calls = every(ast.Call, tree(path.read_text()))
        found += [path.relative_to(ROOT).as_posix() for c in calls if isinstance(c.func, ast.Name) and c.func.id == of]
    return found


def test_the_core_is_built_in_two_places_only() -> None:
    assert constructions("Core") == ["sim/node.py"]
    assert wiring.AS_BUILT.core is Core, "a bench may listen to the daemon's core; the product builds it as it is"


def test_both_hosts_mean_the_same_core_config_and_ports() -> None:
    assert wiring.Core is simulated.Core is Core
    assert wiring.NodeConfig is simulated.NodeConfig is NodeConfig
    assert wiring.NodePorts is simulated.NodePorts is NodePorts
    assert constructions("NodeConfig") == ["daemon/wiring.py", "sim/node.py"]


def test_a_simulated_node_runs_exactly_that_core() -> None:
    world = World(Setup(seed=1, nodes=1))
    world.start_all()
    world.run_for(0.1)
    assert type(world[0].core) is Core
    assert type(world[0].core.config) is NodeConfig


def test_no_floor_below_knows_whether_it_is_simulated() -> None:
    for path in sources("meshnode"):
        if path.relative_to(ROOT).parts[0] != "sim":
            assert "meshnode.sim" not in path.read_text(), path
