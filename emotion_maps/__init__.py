"""Which parts of a face make which filters of a network fire, and does it matter for the emotion it names?"""

__version__ = "0.1.0"


def __getattr__(name):
    """Load a module on first use, so that `import emotion_maps` stays instant."""
    from importlib import import_module
    from importlib.util import find_spec

    if name.startswith("_") or find_spec(f"{__name__}.{name}") is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return import_module(f"{__name__}.{name}")


def __dir__():
    """What there is, the modules not loaded yet included: for completion with the Tab key."""
    from pkgutil import iter_modules

    return sorted({*globals(), *(module.name for module in iter_modules(__path__) if not module.name.startswith("_"))})


def command():
    """The `emotion-maps` command: its exit code. Ctrl-C ends it cleanly even while the first modules are still being loaded."""
    from sys import stderr

    try:
        from emotion_maps.pipeline import main

        return main()
    except KeyboardInterrupt:
        print("\nStopped before anything was done.", file=stderr)
        return 130
