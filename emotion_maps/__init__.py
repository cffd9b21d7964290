"""Which parts of a face make which filters of a network fire, and does it matter for the emotion it names?"""

__version__ = "0.1.0"


def __getattr__(name):
    """Load a module on first use, so that `import emotion_maps` stays instant."""
    from importlib import import_module
    from importlib.util import find_spec

    if name.startswith("_") or find_spec(f"{__name__}.{name}") is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return import_module(f"{__name__}.{name}")
