"""The recipes of the site: read from its directory, checked one by one, and kept until a file changes.

A wrong recipe is an error with file, line and key, and does not touch the others. Without a site file, examples that
come with the library, for simulated servers.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator

from cloudmesh_actors import site
from cloudmesh_actors.errors import ArgumentError, RecipeError, SiteError
from cloudmesh_actors.launcher import reading
from cloudmesh_actors.launcher.model import Recipe
from cloudmesh_actors.nodes import near_miss
from cloudmesh_actors.site import Site
from cloudmesh_actors.site.model import Source, identify

#: How the files of recipes end.
ENDINGS = (".yaml", ".yml")

#: The largest recipe, in bytes.
LARGEST = 256 * 2**10

_lock = threading.Lock()
_loaded: dict[Path, tuple[tuple[Source, ...], Recipes]] = {}


@dataclass(frozen=True, slots=True)
class Recipes:
    """Recipes by name, in the order of their files, and what is wrong with the others."""

    recipes: dict[str, Recipe]
    errors: list[RecipeError]


def load_all(of: Site | None = None) -> Recipes:
    """The recipes of the current site; the examples where there is no site file.

    Raises SettingsError, SiteError.
    """
    found = of or site.current()
    if found.source is None:
        return built_in()
    if found.recipes is None:
        return Recipes({}, [])
    with _lock:
        sources = tuple(_sources(found.recipes, found))
        known = _loaded.get(found.recipes)
        if known is None or known[0] != sources:
            known = _loaded[found.recipes] = sources, _read_folder(found.recipes, found)
        return known[1]


def find(name: str) -> Recipe:
    """A recipe by its name. Raises ArgumentError, which has a near miss, or says what is wrong with it."""
    found = load_all()
    if name in found.recipes:
        return found.recipes[name]
    for error in found.errors:
        if error.recipe == name:
            raise ArgumentError(f"The recipe {name!r} cannot be used: {error}.")
    hint = near_miss(name, found.recipes) or f"; there are {', '.join(found.recipes) or 'none'}"
    raise ArgumentError(f"There is no recipe {name[:80]!r}{hint}.")


def reset() -> None:
    """Forget what was read (tests)."""
    with _lock:
        _loaded.clear()
    built_in.cache_clear()


@cache
def built_in() -> Recipes:
    """The examples that come with the library."""
    folder = files("cloudmesh_actors.launcher").joinpath("examples")
    read = [(file.name, file) for file in sorted(folder.iterdir(), key=lambda file: file.name)]
    return _collected(_read(Path(name), file.read_bytes(), None) for name, file in read if name.endswith(ENDINGS))


def image_file(recipe: Recipe) -> Traversable:
    """The picture of a recipe: one that comes with the library, or a file beside the recipe."""
    if recipe.image in reading.IMAGES:
        return files("cloudmesh_actors.launcher").joinpath("images", f"{recipe.image}.svg")
    return Path(recipe.image)


def _check_name(name: str) -> str:
    find(name)
    return name


#: An argument that is the name of a recipe of the site.
RecipeName = Annotated[str, AfterValidator(_check_name)]


def _files(folder: Path) -> list[Path]:
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except OSError as error:
        raise SiteError(f"the recipes cannot be read: {error.strerror}", file=folder) from None
    return [Path(e.path) for e in entries if e.name.endswith(ENDINGS) and not e.name.startswith(".")]


def _sources(folder: Path, found: Site) -> Iterator[Source]:
    """What the recipes are read from: any change of it has them read again."""
    yield from found.sources
    for path in _files(folder):
        try:
            yield Source(path, identify(path))
        except OSError:
            yield Source(path, (0, 0, 0))


def _read_folder(folder: Path, found: Site) -> Recipes:
    return _collected(_read_file(path, found) for path in _files(folder))


def _read_file(path: Path, found: Site) -> Recipe | list[RecipeError]:
    try:
        with path.open("rb") as file:
            content = file.read(LARGEST + 1)
    except OSError as error:
        return [_error(path.stem, SiteError(f"cannot be read: {error.strerror}", file=path))]
    if len(content) > LARGEST:
        return [_error(path.stem, SiteError(f"is larger than {LARGEST // 1024} kB", file=path))]
    return _read(path, content, found)


def _read(path: Path, content: bytes, found: Site | None) -> Recipe | list[RecipeError]:
    try:
        recipe, report = reading.read(content, path, found)
    except SiteError as error:
        return [_error(path.stem, error)]
    errors = sorted(report.errors, key=lambda error: error.line or 0)
    return [_error(recipe.name, error) for error in errors] or recipe


def _error(recipe: str, error: SiteError) -> RecipeError:
    return RecipeError(error.reason, recipe=recipe, file=error.file, line=error.line, key=error.key)


def _collected(read: Iterator[Recipe | list[RecipeError]]) -> Recipes:
    recipes: dict[str, Recipe] = {}
    errors: list[RecipeError] = []
    for result in read:
        if isinstance(result, list):
            errors += result
        elif result.name in recipes:
            errors.append(RecipeError(f"there are two recipes named {result.name!r}", recipe=result.name, key="name"))
        else:
            recipes[result.name] = result
    return Recipes(recipes, errors)
