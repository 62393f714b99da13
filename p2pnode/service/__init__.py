"""The API's answers: jobs, commands, logs, content, nodes and problems of a running node.

May know the node's parts, the network's protocols and the shapes of `api`; decides nothing about jobs, which
is the core's. Known by `serving` alone.
"""
