"""`top`: the network and its jobs on the whole screen, drawn anew as they change.

`command` asks and waits, `screen` is the terminal; the other files decide what is shown, and know neither a
clock nor a terminal.
May know `client`, the core's words and the command line's output. Known to nothing else.
"""
