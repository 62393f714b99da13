"""A node's questions to the operating system: trees of files, file descriptors, memory, the host's size.

May know the core's words and nothing else of the shell. Known by whatever touches files or resources.
"""
