"""The doctor: what on this machine keeps a node from working well, and what to do about it.

`probes` look, with or without a node that runs; `checks` decide; `examination` has both in their order.

May know what a node is made of and the API's client, not the node. Known by the command line alone.
"""
