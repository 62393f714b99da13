"""Decisions only: what happens to jobs, given events and the time. Knows no clock, socket or file.

`node` puts the rooms together, and `recovery` brings back what a journal has. The rooms, each of which
knows those below it:

    job, jobfile
    replication, worker
    placement
    records
    link
    wire
    values
"""
