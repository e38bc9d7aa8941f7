"""Offers of other regions, as their bridges told them a moment ago: what a call may use that nobody here takes."""

import msgspec

from meshnode.kernel.instant import SECOND
from meshnode.model.ids import NodeId
from meshnode.registry.offers import SkillOffer

KEPT_US = 5 * SECOND
ADDRESSES_MAX = 256
OFFERS_MAX = 64  # of one address


class OfferAbroad(msgspec.Struct, frozen=True):
    """``heard_us``: when its node was last heard, by whoever told of it."""

    node: NodeId
    skill: str
    offer: SkillOffer
    heard_us: int
    until_us: int


class Abroad:
    """By what was asked for: a skill, or ``cap/TAG``."""

    def __init__(self) -> None:
        self._offers: dict[str, dict[tuple[NodeId, str, str], OfferAbroad]] = {}

    def __contains__(self, address: str) -> bool:
        return address in self._offers

    def put(self, address: str, offer: OfferAbroad) -> None:
        offers = self._offers.pop(address, {})
        offers[offer.node, offer.skill, offer.offer.agent] = offer
        while len(offers) > OFFERS_MAX:
            del offers[next(iter(offers))]
        self._offers[address] = offers
        while len(self._offers) > ADDRESSES_MAX:
            del self._offers[next(iter(self._offers))]

    def of(self, address: str, now_us: int) -> list[OfferAbroad]:
        """Those that still count; others are forgotten here."""
        offers = self._offers.get(address)
        if offers is None:
            return []
        fresh = {key: offer for key, offer in offers.items() if offer.until_us > now_us}
        if fresh:
            self._offers[address] = fresh
        else:
            del self._offers[address]
        return list(fresh.values())

    def agents(self, address: str) -> list[str]:
        return [agent for _, _, agent in self._offers.get(address, {})]
