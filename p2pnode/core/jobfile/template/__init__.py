"""Templates of job files as Go's text/template has them, and variables to fill them in with.

May know the positions of `yamltree`, and `problems`.
Known to `jobfile`, and the command line for its flags.
"""
