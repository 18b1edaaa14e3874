"""Two configurations, and what leads from one to the other."""

from __future__ import annotations

import pytest

from nanomq.config import load
from nanomq.config.plan import HOWS, NEEDS, Step, plan
from nanomq.config.schema import table


def steps(old: str, new: str) -> list[Step]:
    return plan(load("old", text=old), load("new", text=new))


def told(old: str, new: str) -> list[tuple[str, str]]:
    return [(step.how, str(step)) for step in steps(old, new)]


@pytest.mark.parametrize(
    ("old", "new", "how", "text"),
    [
        ("", "mqtt.max_mqueue_len = 5", "live", "mqtt.max_mqueue_len: 1024 → 5 (new:1:23)"),
        ("mqtt.max_packet_size = 1KB", "", "live", "mqtt.max_packet_size: 1KB → 10MB (default)"),
        ("", "mqtt.max_qos = 1", "new connections", "mqtt.max_qos: 2 → 1 (new:1:16)"),
        ("", "listeners.tcp.bind = 1884", "listener restarts", 'listeners.tcp.bind: "0.0.0.0:1883" → "0.0.0.0:1884" (new:1:22)'),
        ("", "listeners.tcp { bind = 1883, a.bind = 1 }", "listener opens", 'listeners.tcp.a: "0.0.0.0:1" (new:1:39)'),
        ("", "listeners.tcp.enable = false", "listener closes", 'listeners.tcp: "0.0.0.0:1883" (default)'),
        ("", "system.num_taskq_thread = 2", "needs restart", "system.num_taskq_thread: 0 → 2 (new:1:27)"),
        ("", "system.parallel = 2", "no effect", "system.parallel: 0 → 2 (new:1:19)"),
        ("auth.password { a = x, b = x, c = x }", "auth.password { a = x, b = y, d = x }", "new connections",
         "auth.password: adds `d`, removes `c`, changes `b` (new:1:1)"),
    ],
)  # fmt: skip
def test_change_has_its_need(old: str, new: str, how: str, text: str) -> None:
    assert told(old, new) == [(how, text)]


def test_same_meaning_is_no_change() -> None:
    assert steps("mqtt.queue_ttl = 60", "mqtt { queue_ttl = 1m }") == []


def test_steps_are_in_the_order_of_their_needs() -> None:
    found = [how for how, _ in told("", "system.num_taskq_thread = 2\nmqtt { max_qos = 1, max_mqueue_len = 5 }")]
    assert found == sorted(found, key=list(HOWS).index)
    assert len(found) == 3


def test_changed_password_of_a_key_is_not_shown() -> None:
    files = f'bind = 1, certfile = "{__file__}", keyfile = "{__file__}"'
    old, new = (f'listeners.ssl {{ {files}, key_password = "{word}" }}' for word in ("hunter2", "hunter3"))
    column = new.index('"hunter') + 1
    assert told(old, new) == [("live", f"listeners.ssl.key_password: changed (new:1:{column})")]


def test_every_need_of_the_table_has_a_word() -> None:
    assert {key.live for key in table().values()} <= set(NEEDS)
