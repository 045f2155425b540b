"""The process layer: one worker is one process with one log and one pid file; supervisord runs them all.

========================  ==========================================================================
`__main__`                ``python -m workers COMMAND`` and ``python -m workers NAME``
`command` `fleet`         up, down, restart, status, clean, run
`configuration`           from the settings to supervisord's configuration file and environment
`supervisor`              supervisord, spoken to over its socket
`files` `reasons`         this fleet's files; why a worker is not ready
`status`                  a line about each worker
`boot` `signals`          the first steps of a process; being asked to stop
`process`                 what workers and beat have in common
`worker` `beat` `web`      the processes
`valkey`
`launcher` ... `rack`     one module a queue, for `worker` and for the dramatiq command
========================  ==========================================================================
"""
