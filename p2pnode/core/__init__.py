"""Decisions only: what happens to jobs, given events and the time. Knows no clock, socket or file."""
