"""How methods of a framework's classes are wrapped: of every subclass, those of today and those to come.

Nothing is remembered here: what was put on says so itself, and is taken off by looking for it. What somebody
else has wrapped since is left alone; ours beneath it then passes everything through.
"""

from collections.abc import Callable, Iterator, Mapping
from importlib import metadata
from typing import Any, Final, NamedTuple

from aforo_sdk import plugin

from aforo_autogen import frames
from aforo_autogen.frames import Method, Wrap

_MARK: Final = "__aforo_original__"
_BORROWED: Final = "__aforo_borrowed__"


class Patch(NamedTuple):
    """Methods of a class and all its subclasses, each with what wraps it.

    `module` is where the class `owner` is found once that is imported, `distribution` whose version a warning
    names. Methods among `optional` may be absent; what `feature` describes is lost with the others.
    """

    module: str
    owner: str
    methods: Mapping[str, Wrap]
    distribution: str
    feature: str
    optional: frozenset[str] = frozenset()


def put_on(patch: Patch, module: object) -> None:
    """Wrap the methods; one warning if the framework does not have them any more."""
    owner = getattr(module, patch.owner, None)
    if not isinstance(owner, type):
        warn(patch, patch.owner)
        return
    for name in patch.methods:
        if name not in patch.optional and not hasattr(owner, name):
            warn(patch, f"{patch.owner}.{name}")
    for cls in _family(owner):
        _adorn(cls, owner, patch.methods)
    _watch(owner, patch.methods)


def take_off(patch: Patch, module: object) -> None:
    """Undo `put_on`."""
    owner = getattr(module, patch.owner, None)
    if not isinstance(owner, type):
        return
    for cls in _family(owner):
        for name in ("__init_subclass__", *patch.methods):
            put = cls.__dict__.get(name)
            marked = getattr(put, "__func__", put)
            if not hasattr(marked, _MARK):
                continue
            if getattr(marked, _BORROWED):
                delattr(cls, name)
            else:
                setattr(cls, name, getattr(marked, _MARK))


def _family(owner: type) -> Iterator[type]:
    """A class and all its subclasses, each once."""
    seen, waiting = set(), [owner]
    while waiting:
        cls = waiting.pop()
        if cls not in seen:
            seen.add(cls)
            waiting += type.__subclasses__(cls)
            yield cls


def _adorn(cls: type, owner: type, methods: Mapping[str, Wrap]) -> None:
    """Wrap the methods that a class defines, or takes from a class outside the family."""
    for name, wrap in methods.items():
        found = next((base for base in cls.__mro__ if name in base.__dict__), None)
        if found is None or (found is not cls and issubclass(found, owner)):
            continue
        original = found.__dict__[name]
        if getattr(original, "__isabstractmethod__", False) or not callable(original):
            continue
        if not hasattr(original, _MARK):
            _put(cls, name, wrap(original), original, found is not cls)


def _watch(owner: type, methods: Mapping[str, Wrap]) -> None:
    """Wrap the methods of every subclass as it is made."""
    original: Any = owner.__dict__.get("__init_subclass__")
    base: Any = owner
    if hasattr(getattr(original, "__func__", None), _MARK):
        return

    def __init_subclass__(cls: type, **kwargs: Any) -> None:  # noqa: N807 - what it is called in the class
        if original is None:
            super(base, cls).__init_subclass__(**kwargs)
        else:
            original.__get__(None, cls)(**kwargs)
        frames.guarded(lambda made: _adorn(made, owner, methods), cls)

    _put(owner, "__init_subclass__", __init_subclass__, original, original is None, classmethod)


def _put(
    cls: type,
    name: str,
    function: Method,
    original: object,
    borrowed: bool,
    binding: Callable[[Method], Any] = lambda function: function,
) -> None:
    setattr(function, _MARK, original)
    setattr(function, _BORROWED, borrowed)
    setattr(cls, name, binding(function))


def warn(patch: Patch, missing: str) -> None:
    """Say once that a framework lacks something, in which version, and what that means."""
    try:
        version = metadata.version(patch.distribution)
    except metadata.PackageNotFoundError:
        version = "of unknown version"
    plugin.warn_once(
        f"autogen.missing.{missing}",
        f"{patch.distribution} {version} has no {missing}: {patch.feature} not metered, everything else is.",
    )
