"""The configuration: the folder that holds it, which keys it may have, and building objects from it."""

from __future__ import annotations

import dataclasses
import difflib
import inspect
import os
import pkgutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmreg_lightning.errors import UserError

if TYPE_CHECKING:
    from omegaconf import DictConfig
    from omegaconf.errors import OmegaConfBaseException, ValidationError

_PACKAGE = Path(__file__).resolve().parent
CONF_DIR = _PACKAGE / "conf" if (_PACKAGE / "conf").is_dir() else _PACKAGE.parent / "conf"
"""Inside the package in a wheel, beside it in a checkout or an editable install.

Absolute, for ``@hydra.main(config_path=str(CONF_DIR))``; ``pkg://`` would not find it in a checkout.
"""
DEFAULT_FEATURES = "mind_ssc"
"""Feature family of every command that is given neither features nor a checkpoint."""
CACHE_DIR = Path(os.environ.get("MMREG_CACHE", "~/.cache/mmreg_lightning")).expanduser()
"""Where prepared images are kept, as ``data.cache_dir`` of the configuration."""
_GLOBAL_GROUPS = ("experiment", "sweep")
"""Groups whose files set keys of the whole configuration and have none of their own."""
_OF_TARGETS = ("_target_", "_partial_", "_args_", "_recursive_", "_convert_")
"""Hydra's own keys beside the arguments of a target."""
_PASSED_ON = {
    "pytorch_lightning.loggers.wandb.WandbLogger": "wandb.init",
    "pytorch_lightning.callbacks.weight_averaging.WeightAveraging": "torch.optim.swa_utils.AveragedModel",
}
"""What takes the keywords that a class takes without naming them, where it is not its base class."""
_WORDS = {
    "Integer": "a whole number",
    "'int'": "a whole number",
    "Float": "a number",
    "'float'": "a number",
    "Boolean": "true or false",
    "'str'": "text",
    "'typing.List[typing.Any]'": "a list",
    "is not a ListConfig, list or tuple.": "a list",
}
"""How OmegaConf's messages about a value of the wrong type end, and what the value must be."""


def instantiate(config: Any, **kwargs: Any) -> Any:
    """Build what ``_target_`` of a configuration names, with the rest of it and ``kwargs`` as arguments.

    Args:
        config: a DictConfig or dict with ``_target_``, nested ones included; None gives None.
        kwargs: further arguments of the outermost target, which win over those of the configuration.

    Raises:
        UserError: a target cannot be imported, a value cannot be resolved, or the target refuses its
            arguments; the sentence names the key or the target, and the cause.
    """
    import hydra
    from hydra.errors import InstantiationException
    from omegaconf.errors import OmegaConfBaseException

    if isinstance(config, Mapping) and "_target_" not in config:
        raise UserError(f"{dict(config)}: needs _target_, the class or function to build from it")
    try:
        return hydra.utils.instantiate(config, **kwargs)
    except InstantiationException as error:
        raise UserError(_sentence(error)) from error
    except OmegaConfBaseException as error:
        raise UserError(f"The configuration cannot be read: {one_line(error)}") from error


def read_config(config: DictConfig, schema: type, known: Sequence[str] = ()) -> dict[str, Any]:
    """A composed configuration as plain types, all references resolved.

    Args:
        config: of Hydra. The keys beside a ``_target_`` must be arguments of the target.
        schema: dataclass of all the others.
        known: dotted keys that the caller knows beside these, for messages.

    Raises:
        UserError: a key is unknown or its value of the wrong type, a mandatory value is missing, a target cannot be
            imported, or a reference leads nowhere.
    """
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    whole = check_keys(config, schema, elsewhere=[key for key, _ in _walk(OmegaConf.to_container(config))])
    try:
        check_targets(config, known=known)
        # Of the merged one first: there are keys that the configuration lacks.
        OmegaConf.to_container(whole, resolve=True, throw_on_missing=True)
        container: dict[str, Any] = OmegaConf.to_container(config, resolve=True, throw_on_missing=True)  # type: ignore[assignment]
    except OmegaConfBaseException as error:
        raise _unresolved(error) from error
    return container


def check_targets(config: DictConfig, where: str = "", known: Sequence[str] = ()) -> None:
    """Check the keys beside every ``_target_`` of a configuration, which must be arguments of the target.

    Args:
        config: with references or without.
        where: dotted key of it, for messages.
        known: see ``read_config``.

    Raises:
        UserError: a key is unknown, or a target cannot be imported.
    """
    from omegaconf import OmegaConf

    content = OmegaConf.to_container(config)
    elsewhere = [*(key for key, _ in _walk(content)), *known]
    for own, node in _walk(content):
        if isinstance(node, dict) and "_target_" in node:
            key = f"{where}.{own}" if where else own
            arguments = arguments_of(_imported(f"{key}._target_", OmegaConf.select(config, f"{own}._target_")))
            if arguments is not None:
                check_keys(node, arguments, key, elsewhere)


def check_keys(config: Any, schema: type, where: str = "", elsewhere: Sequence[str] = ()) -> DictConfig:
    """Merge a part of a configuration into its schema.

    Args:
        config: mapping.
        schema: dataclass.
        where: dotted key of the part.
        elsewhere: dotted keys of the whole configuration, one of which an unknown key may stand for.

    Returns:
        The merged part; what it lacks is the schema's default.

    Raises:
        UserError: a key is unknown, or its value of the wrong type.
    """
    from omegaconf import OmegaConf
    from omegaconf.errors import ConfigKeyError, OmegaConfBaseException, ValidationError

    try:
        return OmegaConf.merge(OmegaConf.structured(schema), config)  # type: ignore[return-value]
    except (ConfigKeyError, ValidationError) as error:
        key = ".".join(part for part in (where, error.full_key) if part)
        if isinstance(error, ValidationError):
            raise UserError(_wrong_value(key, error)) from error
        assert error.parent_node is not None, "the part of the schema that lacks the key"
        group, _, rest = key.partition(".")
        if group in _GLOBAL_GROUPS and not difflib.get_close_matches(rest, list(error.parent_node), 1):
            raise UserError(
                f"{group}: the keys of the file that {group}=NAME names landed under '{group}.', where they set "
                "nothing, because it lacks the line '# @package _global_' at its top"
            ) from error
        raise unknown_key(key, list(error.parent_node), elsewhere) from error
    except OmegaConfBaseException as error:
        raise _unresolved(error) from error


def arguments_of(target: Callable[..., Any]) -> type | None:
    """The arguments of a function or class as a schema for ``check_keys``; None where it takes any keyword.

    What is in an argument that is a mapping is known where the class says so: ``config_mappings`` has the schema of
    such an argument.
    """
    names = _keywords(target)
    if names is None:
        return None
    from omegaconf import MISSING

    mappings = getattr(target, "config_mappings", {})
    fields = [(name, mappings.get(name, Any), dataclasses.field(default=MISSING)) for name in (*_OF_TARGETS, *names)]
    return dataclasses.make_dataclass(target.__name__, fields)


def _keywords(target: Callable[..., Any]) -> dict[str, None] | None:
    """Names of all keyword arguments, those of base classes too where they are passed on; None where any is taken."""
    names: dict[str, None] = {}
    for taker in target.__mro__[:-1] if inspect.isclass(target) else [target]:
        if taker is not target and "__init__" not in vars(taker):
            continue
        try:
            parameters = inspect.signature(taker).parameters.values()
        except ValueError:  # written in C, without a signature
            return None
        names |= {p.name: None for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)}
        if all(p.kind != p.VAR_KEYWORD for p in parameters):
            return names
        further = _PASSED_ON.get(f"{taker.__module__}.{taker.__qualname__}")
        if further is not None:
            return names | (_keywords(pkgutil.resolve_name(further)) or {})
    return None


def _imported(key: str, path: Any) -> Any:
    try:
        target = pkgutil.resolve_name(path)
    except Exception as error:  # a module of the user's may raise anything
        raise UserError(f"{key}={path}: cannot be imported, {type(error).__name__}: {one_line(error)}") from error
    if not callable(target):
        raise UserError(f"{key}={path}: must be a class or function")
    return target


def _walk(node: Any, where: str = "") -> Iterator[tuple[str, Any]]:
    """Dotted key and value of everything below a plain mapping or list."""
    pairs: Sequence[tuple[str, Any]] = ()
    if isinstance(node, Mapping):
        pairs = [(f"{where}.{key}" if where else str(key), value) for key, value in node.items()]
    elif isinstance(node, list):
        pairs = [(f"{where}[{index}]", value) for index, value in enumerate(node)]
    for key, value in pairs:
        yield key, value
        yield from _walk(value, key)


def unknown_key(key: str, siblings: Sequence[str], elsewhere: Sequence[str] = ()) -> UserError:
    """The error that names an unknown key and the known one that it most likely stands for.

    Args:
        key: dotted.
        siblings: names that are known in its place, at least one.
        elsewhere: dotted keys of other places.
    """
    parent, _, name = key.rpartition(".")
    near = difflib.get_close_matches(name, siblings, 1)
    nearest_last = sorted(elsewhere, key=lambda known: len(os.path.commonprefix([known, key])))
    last = {known.rpartition(".")[2]: known for known in nearest_last if not f"{known}.".startswith(f"{key}.")}
    namesake = difflib.get_close_matches(name, last, 1)
    if namesake and not near:
        meant = last[namesake[0]]
    else:
        near = near or difflib.get_close_matches(name, siblings, 1, cutoff=0)
        meant = f"{parent}.{near[0]}" if parent else near[0]
    return UserError(f"{key}: there is no such setting, did you mean {meant}?")


def _wrong_value(key: str, error: ValidationError) -> str:
    message = str(error).splitlines()[0]
    if not key:
        return f"configuration: {message}"
    words = "a mapping" if "is not a subclass of" in message or " to Dict[" in message else None
    words = next((text for end, text in _WORDS.items() if message.endswith(end)), words)
    value = "null" if error.value is None else error.value
    return f"{key}={value}: " + (f"must be {words}" if words else message)


def _unresolved(error: OmegaConfBaseException) -> UserError:
    from omegaconf.errors import MissingMandatoryValue

    why = "has no value" if isinstance(error, MissingMandatoryValue) else str(error).splitlines()[0]
    return UserError(f"{error.full_key}: {why}" if error.full_key else f"configuration: {why}")


def _sentence(error: Exception) -> str:
    """One sentence from Hydra's message of several lines: what failed, why, and the configuration key."""
    lines = str(error).splitlines()
    what = lines[0].partition(", set env var")[0].rstrip(":")
    where = next((f" (configuration key {line[10:].strip()})" for line in lines if line.startswith("full_key:")), "")
    cause: BaseException | None = error.__cause__
    # This package's own checks name key and value; what another library raises needs its target beside it.
    if isinstance(cause, UserError) or (isinstance(cause, ValueError) and "mmreg_lightning" in what):
        return f"{one_line(cause)}{where}"
    why = f": {type(cause).__name__}: {one_line(cause)}" if cause is not None else ""
    return f"{what}{why}{where}"


def one_line(error: BaseException) -> str:
    """The message in one line; Hydra wraps some errors into one that says nothing itself."""
    while not str(error) and error.__cause__ is not None:
        error = error.__cause__
    return " ".join(str(error).split())
