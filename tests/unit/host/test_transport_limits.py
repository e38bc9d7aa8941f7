"""What a transport bears, beside what the links over it bear."""

from dataclasses import fields

from meshnode.host.transport import TransportConfig
from meshnode.links.config import HubConfig


def test_the_transport_bears_more_connections_than_the_hub_which_tells_a_dialler_that_it_has_no_room():
    hub = {field.name: field.default for field in fields(HubConfig)}
    assert TransportConfig().links_max > hub["links_max"] >= 1000
    assert hub["peers_max"] > hub["links_max"], "somebody without a link can always be forgotten"
