"""Which addresses can only be somebody else's computer on the public internet. Pure.

Whoever may name a host to us (a payee's server, or a machine's own list of relays) must not make us connect to hosts
that only this one can reach.
"""

from __future__ import annotations

import ipaddress
from typing import Final

IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address

_NAT64: Final = ipaddress.ip_network("64:ff9b::/96")
#: All that is assigned for the public IPv6 internet; everything else is for special purposes, now or in future.
_GLOBAL_UNICAST: Final = ipaddress.ip_network("2000::/3")


def is_public(address: IPAddress) -> bool:
    """Whether the address can only be somebody else's computer on the public internet."""
    if isinstance(address, ipaddress.IPv6Address):
        embedded = address.ipv4_mapped or address.sixtofour or (address.teredo or (None, None))[1]
        if address in _NAT64:
            embedded = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
        if embedded is not None:
            return is_public(embedded)
        if address not in _GLOBAL_UNICAST:
            return False
    return address.is_global and not address.is_multicast
