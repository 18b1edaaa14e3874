"""The one model of all configuration keys.

does: reads configuration files, variables and flags into one checked configuration that knows where each value is from
owns: the table of keys (`schema`), the kinds of values, the file formats, the texts of configuration errors
may use: nanomq.errors
never: opens a socket, starts the engine, prints, logs
change here when: a key, a kind of value or a file format comes or changes
"""

from __future__ import annotations

from nanomq.config.load import Effective, Listener, Setting, find_file, from_dict, load
from nanomq.config.overlay import UNKNOWN
from nanomq.config.values import Address

__all__ = ["UNKNOWN", "Address", "Effective", "Listener", "Setting", "find_file", "from_dict", "load"]
