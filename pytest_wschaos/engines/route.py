"""How clients, the proxies of a real Toxiproxy and the engine behind it find each other."""

from __future__ import annotations

from ..toxiproxy import Server


class Route:
    """All of them are on 127.0.0.1 of one machine."""

    host = "127.0.0.1"
    """Where the engine listens."""
    refuses = True
    """Whether clients are refused where a proxy does not listen."""
    advice = "is it in a container? Run that with host networking"
    """What to do where they do not find each other."""

    def listen(self, server: Server) -> str:
        """Where the next proxy of a server is to listen."""
        return "127.0.0.1:0"

    def upstream(self, address: str) -> str:
        """What a proxy calls an address of the engine's."""
        return address

    def public(self, listen: str) -> str:
        """What clients call the address on which a proxy listens."""
        return listen
