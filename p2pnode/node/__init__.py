"""One running node: its loop over the core, its journal, what carries decisions out, and what watches peers.

May know the core and all parts of the shell below (network, engines, data, ipfs, faults, system). Known by
`service`, which answers the API about it, and `serving`, which starts and ends it.
"""
