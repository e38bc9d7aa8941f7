"""The small machines of the gossip room, made once and known by name to those who carry news between them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from meshnode.gossip.broadcast import Broadcast
from meshnode.gossip.budget import Budgets
from meshnode.gossip.catalogue import Catalogue
from meshnode.gossip.config import GossipConfig
from meshnode.gossip.contacts import Address, Contacts
from meshnode.gossip.detector import Detector
from meshnode.gossip.dialback import Asking, Trying
from meshnode.gossip.directory import Directory
from meshnode.gossip.envoys import Envoys
from meshnode.gossip.ground import Ground
from meshnode.gossip.intake import Intake
from meshnode.gossip.manners import Manners
from meshnode.gossip.messages import MemberState
from meshnode.gossip.newcomers import Newcomers
from meshnode.gossip.overlay import Overlay
from meshnode.gossip.planning import Outlook, Planning
from meshnode.gossip.relays import Relays, direct
from meshnode.gossip.repair import Repairs
from meshnode.gossip.saving import Saving
from meshnode.gossip.scope import Scope, holds_whole
from meshnode.gossip.selfrow import SelfRow
from meshnode.gossip.soft import SoftState
from meshnode.gossip.subjects import Subjects
from meshnode.gossip.whereabouts import Whereabouts
from meshnode.kernel.counters import Counters
from meshnode.kernel.effects import Effect, Note
from meshnode.kernel.instant import Instant
from meshnode.kernel.ports import LinkStats, Signer, Trust, Verifier
from meshnode.kernel.records import Record
from meshnode.kernel.rng import Random
from meshnode.links.tunnelwire import RELAY_PORT, relay_host
from meshnode.model.ids import NodeId


@dataclass(frozen=True, kw_only=True, slots=True)
class Ports:
    """What the room asks of its siblings."""

    signer: Signer
    verifier: Verifier
    trust: Trust
    links: LinkStats


class Parts:
    """All of them. Each knows none of the others but what its constructor names."""

    def __init__(
        self, config: GossipConfig, ports: Ports, rng: Random, restored: Sequence[Record], ground: Ground | None = None,
        improvable: Callable[[NodeId], bool] = lambda _node: False,
    ) -> None:  # fmt: skip
        self.config, self.ports = config, ports
        self._through_me = (relay_host(config.node), RELAY_PORT)
        self.own_addresses: dict[Address, None] = {}  # found out by dialling ourselves
        self.me = SelfRow(config, ports.signer)
        self.directory = Directory(ports.verifier, ports.trust, ground)
        self.saving = Saving(self.directory)
        self.intake, self.newcomers = Intake(), Newcomers()
        self.manners, self.counters = Manners(), Counters()
        self.detector = Detector(config, ports.links, rng, Subjects(config.node, self.directory))
        self.outlook = Outlook(config, self.me, self.directory, self.detector, ports.links)
        whole = holds_whole(ports.trust.member(config.node))
        self.overlay = Overlay(config, rng, self.outlook, whole=whole)
        self.broadcast = Broadcast(ports.links, config.node)
        self.budgets = Budgets(config.profile)
        self.soft = SoftState(
            config,
            signer=ports.signer,
            verifier=ports.verifier,
            trust=ports.trust,
            rng=rng,
            told_by=self.overlay.told_by,
            scope=Scope(config.node, region_of=self._region_of, small=self._small, whole=whole),
            gone=self._gone,
            budgets=self.budgets,
        )
        where = Whereabouts(self.directory, self.detector)
        self.envoys = Envoys(
            config.node, config.region, where, self.overlay.peers, self._region_of,
            active=lambda: whole and not self._small(),
        )  # fmt: skip
        self.catalogue = Catalogue(
            config, where, ports.links, ports.signer, ports.verifier, ports.trust,
            holds=self.soft.scope.holds, small=self._small,
        )  # fmt: skip
        self.repairs = Repairs(config, self.directory, self.soft, self.catalogue, rng, self.budgets, self.newcomers)
        self.contacts = Contacts(
            rng,
            own=self._is_own,
            holder=self.directory.holder,
            near=self.outlook.near,
            improvable=improvable,
            restored=restored,
        )
        self.relays = Relays(config, self.directory)
        self.asking = Asking(config, self.directory, self.counters)
        self.trying = Trying(self.directory, self.contacts.probe)
        self.planning = Planning(
            config,
            self.me,
            self.directory,
            self.outlook,
            self.overlay,
            self.contacts,
            self.relays,
            hold=self.soft.hold,
        )

    def found_out(self, now: Instant) -> list[Effect]:
        """Whether this node can be dialled is known now, and was not: it goes to relays, or comes back from them."""
        self.planning.found_out(hidden=self.asking.hidden, now=now)
        return [Note(f"node/{self.config.name}", self.undialable() or "this node can be dialled again")]

    def undialable(self) -> str:
        """In words; empty as long as nobody says so."""
        if not self.asking.hidden:
            return ""
        names = [entry.member.name for node in self.asking.tried if (entry := self.directory.entry(node)) is not None]
        where = ", ".join(f"{host}:{port}" for host, port in direct(self.config.endpoints))
        return (
            f"nobody can dial this node: {' and '.join(names) or 'others'} tried {where}; it is reached through relays"
        )

    def _region_of(self, node: NodeId) -> str:
        if node == self.config.node:
            return self.config.region
        entry = self.directory.entry(node)
        member = entry.member if entry is not None else self.ports.trust.member(node)
        return member.region if member is not None else ""

    def _small(self) -> bool:
        """All soft facts go everywhere."""
        rows = self.directory.rows
        return len(rows) <= self.config.whole_mesh_max or len(self.directory.regions()) < 2

    def _gone(self, node: NodeId) -> bool:
        """Nobody stands by what it said, outside its region either."""
        lost = self.detector.state(node) in (MemberState.UNREACHABLE, MemberState.DOWN, MemberState.LEFT)
        return lost or node not in self.directory.rows

    def _is_own(self, address: Address) -> bool:
        return address in self.own_addresses or address in direct(self.me.endpoints) or address == self._through_me
