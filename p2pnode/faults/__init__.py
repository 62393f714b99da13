"""What fails: kept to the one thing that it belongs to, noted for people, and not tried a third time.

May know the core's words and nothing else of the shell. Known by whatever runs tasks or keeps records.
"""
