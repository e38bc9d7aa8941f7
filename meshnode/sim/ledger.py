"""Clients that keep their own books: who calls a stateful agent, from where, and what was acknowledged.

Every payment has an id, which is its idempotency key as well. It is asked for again under the same key, from the same
machine or another, while the last word about it was a failure; some that were acknowledged are asked for once more.
"""

from collections.abc import Callable
from dataclasses import dataclass

import msgspec

from meshnode.kernel.instant import SECOND
from meshnode.model.commands import Apply, CallSkill, FoldState, JsonObject, RunAgent
from meshnode.model.views import AnyView, CallView, Failure
from meshnode.sim.agents import SCRIPT
from meshnode.sim.node import SimNode
from meshnode.sim.units import runs
from meshnode.sim.watching import Watcher
from meshnode.sim.world import World

# The caller's own mistakes: the same again fails again.
HOPELESS = ("invalid", "denied")
AMOUNT_MAX = 9


@dataclass(frozen=True, kw_only=True, slots=True)
class Accounts:
    """``again``: how many payments are followed by asking for an acknowledged one again; ``folds_per_s``: checkpoints
    that somebody asks for; ``cluster``: an AgentCluster wants the agent, not a document of its own."""

    agent: str = "meter"
    replicas: int = 1
    clients: int = 3
    adds_per_s: float = 4.0
    gets_per_s: float = 2.0
    folds_per_s: float = 0.1
    again: float = 0.1
    deadline_s: float = 3.0
    tries_max: int = 60
    durability: str = ""
    cluster: bool = False

    def __post_init__(self) -> None:
        if min(self.adds_per_s, self.gets_per_s, self.folds_per_s, self.clients, self.replicas, self.tries_max) <= 0:
            raise ValueError(f"a ledger in which nothing happens proves nothing: {self}")

    @property
    def add(self) -> str:
        return f"{self.agent}.add"

    @property
    def get(self) -> str:
        return f"{self.agent}.get"


class Payment(msgspec.Struct):
    """``unit``, ``version``, ``level``: as the acknowledgement said. ``unit`` "": there was none."""

    id: str
    n: int
    client: int
    tries: int = 0
    unit: str = ""
    version: int = 0
    level: str = ""
    node: str = ""  # who worked on it


class Ledger(Watcher):
    """``payments``: everything that was ever asked for, by id; ``sums``: what is acknowledged, by unit."""

    def __init__(self, world: World, accounts: Accounts) -> None:
        self.accounts = accounts
        self.payments: dict[str, Payment] = {}
        self.sums: dict[str, int] = {}
        self.replayed = self.repeated = 0
        self._world = world
        self._luck = world.luck("ledger")
        self._open: dict[tuple[str, int], Payment] = {}
        self._until_us = self._serial = 0
        self._waiting: dict[str, None] = {}  # ids whose next try is set

    @property
    def acknowledged(self) -> list[Payment]:
        return [payment for payment in self.payments.values() if payment.unit]

    @property
    def unknown(self) -> list[Payment]:
        return [payment for payment in self.payments.values() if not payment.unit]

    @property
    def busy(self) -> bool:
        """Somebody still waits for a word about a payment."""
        return bool(self._open or self._waiting)

    # -- what users do ------------------------------------------------------------------------------------------------

    def open_accounts(self) -> None:
        """The agent is wanted from now on, near the first machine."""
        accounts = self.accounts
        words = [SCRIPT, f"{accounts.agent}.hello", "stateful=1", "answer_ms=10"]
        node = self._world.running()[0]
        if not accounts.cluster:
            wish = RunAgent(name=accounts.agent, argv=words, replicas=accounts.replicas, durability=accounts.durability)
            node.ask(wish)
            return
        agent: JsonObject = {"name": accounts.agent, "replicas": accounts.replicas, "run": {"command": words}}
        if accounts.durability:
            agent["durability"] = accounts.durability
        metadata: JsonObject = {"name": "accounts", "namespace": "default"}
        node.ask(Apply(manifest={"apiVersion": "v1", "kind": "AgentCluster", "metadata": metadata,
                                 "spec": {"agents": [agent]}}))  # fmt: skip

    def start(self, for_s: float) -> None:
        self._until_us = self._world.now_us + round(for_s * SECOND)
        self._next(self.accounts.adds_per_s, self._add)
        self._next(self.accounts.gets_per_s, self._get)
        self._next(self.accounts.folds_per_s, self._fold)

    def _next(self, per_s: float, act: Callable[[], None]) -> None:
        at_us = self._world.now_us + round(self._luck.expovariate(per_s) * SECOND)
        if at_us < self._until_us:
            self._world.at(at_us, act)

    def _add(self) -> None:
        self._next(self.accounts.adds_per_s, self._add)
        client = self._luck.randrange(self.accounts.clients)
        self._serial += 1
        payment = Payment(f"c{client}-{self._serial}", self._luck.randint(1, AMOUNT_MAX), client)
        self.payments[payment.id] = payment
        self._try(payment)
        if self._luck.random() < self.accounts.again:
            self._repeat()

    def _repeat(self) -> None:
        """Somebody asks again for what was acknowledged, from anywhere."""
        known = [payment for payment in list(self.payments.values())[-40:] if payment.unit]
        node: SimNode = self._luck.choice(self._world.nodes)
        if known and node.usable:
            self.repeated += 1
            self._ask(node, self._luck.choice(known))

    def _get(self) -> None:
        self._next(self.accounts.gets_per_s, self._get)
        node: SimNode = self._luck.choice(self._world.nodes)
        if node.usable:
            node.ask(CallSkill(skill=self.accounts.get, deadline_s=self.accounts.deadline_s))

    def _fold(self) -> None:
        self._next(self.accounts.folds_per_s, self._fold)
        homes = [node for node in self._world.nodes if node.usable and runs(node, self.accounts.agent)]
        if homes:
            self._luck.choice(homes).ask(FoldState(agent=self.accounts.agent))

    # -- one payment --------------------------------------------------------------------------------------------------

    def _try(self, payment: Payment) -> None:
        """At the client's own machine; from the third try on anywhere."""
        self._waiting.pop(payment.id, None)
        payment.tries += 1
        nodes = self._world.nodes
        node: SimNode = nodes[payment.client % len(nodes)] if payment.tries < 3 else self._luck.choice(nodes)
        if node.usable:
            self._ask(node, payment)
        else:
            self._later(payment)

    def _ask(self, node: SimNode, payment: Payment) -> None:
        arguments: JsonObject = {"id": payment.id, "n": payment.n}
        call = CallSkill(
            skill=self.accounts.add,
            arguments=arguments,
            deadline_s=self.accounts.deadline_s,
            idempotency_key=payment.id,
        )
        self._open[node.name, node.ask(call)] = payment

    def _later(self, payment: Payment) -> None:
        if payment.unit or payment.id in self._waiting or payment.tries >= self.accounts.tries_max:
            return
        self._waiting[payment.id] = None
        wait_us = round((0.2 + 0.8 * self._luck.random()) * SECOND)
        self._world.at(self._world.now_us + wait_us, lambda: self._try(payment))

    def replied(self, node: SimNode, number: int, view: AnyView) -> None:
        payment = self._open.pop((node.name, number), None)
        if payment is None:
            return
        if isinstance(view, CallView):
            self.replayed += view.replayed
            if not payment.unit:
                payment.unit, payment.version = view.instance, view.version
                payment.level, payment.node = view.durability, view.node
                self.sums[payment.unit] = self.sums.get(payment.unit, 0) + payment.n
        elif isinstance(view, Failure) and view.code not in HOPELESS:
            self._later(payment)

    def died(self, node: SimNode) -> None:
        for key in [key for key in self._open if key[0] == node.name]:
            self._later(self._open.pop(key))

    def rest(self, within_s: float) -> bool:
        """Run until no payment is open any more."""
        return self._world.run_till(lambda: not self.busy, within_s)
