"""Decisions only: what happens to jobs, given events and the time. Knows no clock, socket or file.

`node` puts the rooms together, and goes on after a restart (`Core.resume`). `handovers` decides between the
jobs that are owned here and those that others own; `recovery` undoes what an event did that failed, and takes
back what was set aside. The rooms, each of which knows those below it:

    job, jobfile
    replication, worker
    placement
    records
    link
    wire
    values
"""
