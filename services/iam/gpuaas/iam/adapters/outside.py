"""Addresses that others name and iam fetches from. One law: nothing a tenant writes makes iam ask inside the platform.

A name is resolved once, every address it has must be a public one, and the connection goes to just that address: what
the name says a moment later changes nothing. TLS is still checked for the name.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlsplit

_TRANSLATED: Final = tuple(map(ipaddress.ip_network, ("64:ff9b::/96", "64:ff9b:1::/48", "2002::/16", "2001::/32")))
"""IPv6 addresses that stand for an IPv4 address, which may be any."""


class NotOutside(ValueError):
    """The address is not one of the public network's."""


def is_public(address: str) -> bool:
    """Whether an IP address is one of the public network's: not loopback, private, link-local, multicast, reserved."""
    at = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(at, ipaddress.IPv6Address):
        if at.ipv4_mapped is not None:
            return is_public(str(at.ipv4_mapped))
        if any(at in network for network in _TRANSLATED):
            return False
    return at.is_global and not (at.is_multicast or at.is_reserved or at.is_unspecified)


@dataclass(frozen=True, slots=True)
class Outside:
    """`inside`: origins (`https://host:port`) that the operator lets be asked though they are not public.

    `anywhere`: nothing is refused, for laptops.
    """

    inside: frozenset[str] = frozenset()
    anywhere: bool = False

    async def pinned(self, url: str) -> tuple[str, dict[str, Any]]:
        """The URL to connect to, and what httpx is given beside it, so that the connection goes where was looked.

        Raises:
            NotOutside: the name has an address that is not public, or none at all.
        """
        at = urlsplit(url)
        origin = f"{at.scheme}://{at.netloc}".lower()
        if self.anywhere or origin in self.inside or not at.hostname:
            return url, {}
        port = at.port or (443 if at.scheme == "https" else 80)
        try:
            found = await asyncio.get_running_loop().getaddrinfo(at.hostname, port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError) as unknown:
            raise NotOutside("its name has no address") from unknown
        addresses = [str(each[4][0]) for each in found]
        if not addresses or not all(map(is_public, addresses)):
            raise NotOutside(
                "its name has an address that is not in the public network; an operator can let it be asked"
            )
        first = f"[{addresses[0]}]" if ":" in addresses[0] else addresses[0]
        there = at._replace(netloc=f"{first}:{port}").geturl()
        return there, {"headers": {"Host": at.netloc}, "extensions": {"sni_hostname": at.hostname}}
