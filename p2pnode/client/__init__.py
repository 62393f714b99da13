"""A client of a node's API: questions and answers, and which node is asked.

May know the API's shapes, and what results are verified with: `ipfs`, `identity` and the core; nothing that
a node is made of. Known by the command line, which is written with it, by `doctor`, and by others' programs.
"""
