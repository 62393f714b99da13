"""Notices: the ends of jobs, told to what the operator names: a command, webhooks; at least once each.

`plan` decides what is tried when, `table` keeps what is still to be told, `teller` performs. `probe` asks a
program of the operator's about a job before it is taken. May know `data`
(HTTP), `api` (a job as people get it, private files), `config`, `faults` and the core. Known by `node` and
`serving`.
"""
