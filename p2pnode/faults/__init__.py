"""Failures: kept to the one thing that each belongs to, noted for people, and not tried a third time.

May know the core's words and `system.log_lines`. Known by whatever runs tasks or keeps records.
"""
