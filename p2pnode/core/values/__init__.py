"""Values and texts that mean the same everywhere: units, patterns, host names, images, text made visible.

May know nothing but the language.
Known to every room.
"""
