"""All pages of the reference."""

import functools
from collections.abc import Mapping
from pathlib import Path

from cloud_gateway.api.openapi import document as gateway_document
from meshnode.api.openapi import document as node_document
from tools.reference import api, command_line, kinds

FOLDER = Path(__file__).resolve().parents[2] / "docs" / "reference"
_NODE = """\
Every node serves this over HTTP on a unix socket of mode 0600, `api.sock` in the folder that `DIR/run` names: whoever
may open it is the node's owner. The command line, the SDK's client and the gateway are its readers. The same as OpenAPI
3.1: `GET /openapi.json` on that socket. What a request does not name has its default; what is not known is refused."""
_GATEWAY = """\
What `meshnode gateway` and `meshnode ui` serve. Every answer says how old it is (`as_of`, `stale`); errors are
`application/problem+json`; [operations](../operations.md#a-gateway) tells who may ask. The same as OpenAPI 3.1:
`GET /openapi.json`."""


@functools.cache
def pages() -> Mapping[str, str]:
    """File name -> text."""
    return {
        "cli.md": command_line.page(),
        "kinds.md": kinds.page(),
        "api-node.md": api.page("The API of a node", _NODE, node_document()),
        "api-gateway.md": api.page("The API of the gateway", _GATEWAY, gateway_document()),
    }
