"""The image of a container: pulled where it is not on this machine."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from time import monotonic
from typing import TYPE_CHECKING, Any

from docker.errors import DockerException, ImageNotFound
from docker.utils import parse_repository_tag
from requests import RequestException

from .link import EngineMissing

if TYPE_CHECKING:
    from docker import DockerClient

TELL_EVERY = 1.0
"""Seconds between two lines that tell how far a pull is."""

_unpullable: dict[str, str] = {}
"""Images that could not be pulled, and why: the next test does not wait for it again."""


def require(client: DockerClient, image: str) -> None:
    """Have an image on the machine of the daemon; how far it is goes to standard error.

    Raises:
        EngineMissing: it is not there, and cannot be pulled.
        DockerException, RequestException: the daemon does not say whether it is there.
    """
    try:
        client.images.get(image)
        return
    except ImageNotFound:
        pass
    if image not in _unpullable:
        _tell(f"\nwschaos: {image} is not on this machine: pulling it")
        start = monotonic()
        try:
            repository, tag = parse_repository_tag(image)
            _follow(image, client.api.pull(repository, tag or "latest", stream=True, decode=True))
            client.images.get(image)
        except (DockerException, RequestException, _Failed) as error:
            _unpullable[image] = str(getattr(error, "explanation", None) or error)
        else:
            _tell(f"wschaos: pulled {image} in {monotonic() - start:.1f} s")
    if image in _unpullable:
        raise EngineMissing(
            f"engine 'docker': there is no image {image} on this machine, and it cannot be pulled "
            f"({_unpullable[image]}): docker load it, or name another by the ini value wschaos_toxiproxy_image"
        )


class _Failed(Exception):
    """The daemon says that a pull has failed."""


def _follow(image: str, news: Iterable[Mapping[str, Any]]) -> None:
    """Tell how far a pull is, until it is over."""
    failed = ""
    layers: dict[str, tuple[int, int]] = {}
    told = monotonic()
    for piece in news:
        if "error" in piece:
            failed = piece["error"]  # the last that it says
        detail = piece.get("progressDetail") or {}
        if piece.get("status") == "Downloading" and "total" in detail:
            layers[piece["id"]] = detail["current"], detail["total"]
        if layers and monotonic() - told >= TELL_EVERY:
            told = monotonic()
            have, total = (sum(figures) / 1e6 for figures in zip(*layers.values(), strict=True))
            _tell(f"wschaos: pulling {image}: {have:.1f} of {total:.1f} MB")
    if failed:
        raise _Failed(failed)


def _tell(line: str) -> None:
    sys.stderr.write(f"{line}\n")
    sys.stderr.flush()
