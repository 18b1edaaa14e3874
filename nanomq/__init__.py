"""nanomq: an MQTT broker for the edge, with a compiled engine.

does: names what a program that embeds the broker uses
owns: the list of public names
may use: nanomq.broker, nanomq.client, nanomq.errors
never: imports anything before a name is used, so that commands start fast
change here when: a public name comes or goes
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from nanomq.broker import Broker, Reloaded
    from nanomq.client import TLS, Client, ConnAck, Message, PublishResult, Will
    from nanomq.errors import (
        ClientError,
        ConfigError,
        ConnectError,
        Disconnected,
        NanomqError,
        NotRunning,
        Problem,
        PublishError,
        StartError,
        SubscribeError,
    )

    __version__: str

__all__ = [
    "TLS",
    "Broker",
    "Client",
    "ClientError",
    "ConfigError",
    "ConnAck",
    "ConnectError",
    "Disconnected",
    "Message",
    "NanomqError",
    "NotRunning",
    "Problem",
    "PublishError",
    "PublishResult",
    "Reloaded",
    "StartError",
    "SubscribeError",
    "Will",
    "__version__",
]

_HOMES = dict.fromkeys(("TLS", "Client", "ConnAck", "Message", "PublishResult", "Will"), "client") | {
    "Broker": "broker",
    "Reloaded": "broker",
}
"""Name → its module; all others are errors."""


def __getattr__(name: str) -> object:
    if name == "__version__":
        from importlib.metadata import version

        return version("nanomq")
    if name in __all__:
        value: object = getattr(import_module(f"nanomq.{_HOMES.get(name, 'errors')}"), name)
        return value
    raise AttributeError(f"module `nanomq` has no attribute `{name}`")


def __dir__() -> list[str]:
    return sorted(__all__)
