"""The commands `nanomq` and `nanomq_cli`.

does: turns words on a command line into calls of the rooms below and their answers into text and exit codes
owns: options, texts that scripts wait for, the pid file, the control socket, signals
may use: nanomq.broker, nanomq.client, nanomq.config, nanomq.errors, nanomq.load, nanomq.logs
never: imports nanomq._core, decides about packets or configuration keys
change here when: a command, an option or a text of a command changes
"""
