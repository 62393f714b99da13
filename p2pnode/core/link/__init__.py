"""The link protocol of two nodes: numbered messages over connections that come and go.

May know the codec of `wire`.
Known to the shell's `network`.
"""
