"""Where what the host tells comes in: the input of which room it is. A table to read, as the stairs are for facts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from meshnode.deployments.bundles import ROOM as BUNDLES
from meshnode.gossip.messages import Describe, DialFailed, Discovered, Disturbed, Publish, Reached
from meshnode.kernel.blobs import BlobRead, BlobsKept
from meshnode.kernel.effects import Effect, Note
from meshnode.kernel.instant import SECOND, Instant
from meshnode.kernel.reasons import DialFailure
from meshnode.links.messages import LANE_DIALS, LaneFailed, LinkBytes, LinkLost, LinkOpened
from meshnode.links.tunnelwire import PipeEnded, PipeRead, TunnelClosed, TunnelWritten
from meshnode.node.inputs import (
    CommandDropped,
    CommandGiven,
    CommandsGiven,
    EntropyDrawn,
    HardwareProbed,
    Input,
    LoadSampled,
    LogsFetched,
    Measured,
    Slept,
    Stored,
    StoreFailed,
    StreamWanted,
    TopicsWanted,
)
from meshnode.registry.offers import LOAD_KEY
from meshnode.security.messages import EnrolmentAsked, LeafRenewed, RenewalFailed, RenewalWanted
from meshnode.wire.bus import AgentFrames

if TYPE_CHECKING:
    from collections.abc import Sequence

    from meshnode.node.core import Core

STRANGERS_MAX = 64
# However long this machine slept, its peers have had time to speak again after this.
CALM_MAX_US = 3 * SECOND


def enter(core: Core, event: Input, now: Instant) -> Sequence[Effect]:
    """What it brings about, to be carried."""
    match event:
        case AgentFrames(conn, frames):  # the most frequent first
            return core.switch.from_agent(conn, frames, now)
        case LinkBytes() | LinkLost():
            return core.hub.take(event, now)
        case LinkOpened(address=address):
            core.strangers.pop(address, None)
            return core.hub.take(event, now)
        case TunnelWritten() | TunnelClosed() | PipeRead() | PipeEnded():
            return core.tunnels.handle(event, now)
        case DialFailed(dial_no) | Reached(dial_no) if dial_no > LANE_DIALS:
            return core.hub.take(LaneFailed(dial_no), now) if isinstance(event, DialFailed) else ()
        case DialFailed():
            return [*_stranger(core, event), *core.gossip.handle(event, now)]
        case Discovered() | Reached():
            return core.gossip.handle(event, now)
        case CommandGiven(command_no, command):
            return [*core.desk.ask(command_no, command, now), *core.puts.write(now)]
        case CommandsGiven(commands):
            replies = [e for each in commands for e in core.desk.ask(each.command_no, each.command, now)]
            return [*replies, *core.puts.write(now)]
        case CommandDropped(command_no):
            return core.desk.dropped(command_no, now)
        case EntropyDrawn():
            return core.desk.entropy(event, now)
        case Stored(batch_no):
            return [*core.commits.stored(batch_no), *_journal_grown(core, batch_no, now)]
        case StoreFailed(batch_no, error):
            core.counters.add("store-failed")
            return [*core.commits.failed(batch_no, error, now), *_journal_grown(core, batch_no, now)]
        case StreamWanted(command_no, total):
            return core.switch.grant(command_no, total)
        case TopicsWanted(door, filters):
            return core.switch.listen(door, filters, now)
        case BlobsKept():
            return _blobs_kept(core, event, now)
        case BlobRead(room=room):
            return core.bundles.read(event, now) if room == BUNDLES else core.checkpoints.handle(event, now)
        case LogsFetched():
            return core.desk.fetched(event)
        case EnrolmentAsked():
            return core.enrolment.handle(event, now)
        case RenewalWanted() | LeafRenewed() | RenewalFailed():
            return core.renewal.handle(event, now)
        case HardwareProbed() | LoadSampled() | Slept() | Measured():
            return _sensed(core, event, now)
        case _:
            return core.agents.handle(event, now)


def _sensed(core: Core, event: HardwareProbed | LoadSampled | Slept | Measured, now: Instant) -> Sequence[Effect]:
    match event:
        case HardwareProbed(facts):
            core.hardware = facts
            core.index.described(core.config.node)
            described = core.gossip.handle(Describe(facts, core.endpoints), now)
            return [*described, *core.scheduler.member_changed(core.config.node, now)]
        case LoadSampled(vector):
            return core.gossip.handle(Publish(LOAD_KEY, vector), now)
        case Slept(for_us):
            return core.gossip.handle(Disturbed(min(for_us, CALM_MAX_US)), now)
        case Measured():
            core.measured = event
            return ()


def _blobs_kept(core: Core, event: BlobsKept, now: Instant) -> list[Effect]:
    if event.room == BUNDLES:
        return [*core.bundles.kept(event), *core.desk.bundle_kept(event, now)]
    return [*core.checkpoints.handle(event, now), *core.desk.folded(now)]


def _journal_grown(core: Core, batch_no: int, now: Instant) -> Sequence[Effect]:
    return core.journals.told(now) if core.story.stored(batch_no) else ()


def _stranger(core: Core, failed: DialFailed) -> list[Effect]:
    """Whoever answers at an address of ours and is of no use: told once, shown until a link to there stands."""
    known = failed.address in core.strangers or len(core.strangers) >= STRANGERS_MAX
    if failed.how is not DialFailure.UNTRUSTED or not failed.address or known:
        return []
    core.strangers[failed.address] = failed.detail
    text = f"no link to {failed.address}: whoever answers there is not of this mesh, or not who was expected"
    return [Note(f"node/{core.config.name}", f"{text} ({failed.detail})")]
