"""What is asked for before something is launched: servers and a recipe with its parameters, checked field by field."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from markupsafe import Markup

from cloudmesh_actors import site
from cloudmesh_actors.errors import CloudmeshError
from cloudmesh_actors.launcher import actors, recipes
from cloudmesh_actors.launcher.model import ParametersWrong, Recipe
from cloudmesh_actors.nodes import fold
from cloudmesh_actors.web.forms import Fields

#: Clusters of more nodes are ticked as a whole; a page with more boxes is no help.
MOST_TICKS = 512


@dataclass(frozen=True)
class Wish:
    """What somebody has filled in. `parameters` are those of the chosen recipe, as they were typed."""

    recipe: str = ""
    servers: str = ""
    ticks: tuple[str, ...] = ()
    parameters: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of_form(cls, form: Fields) -> Wish:
        """The wish that a form says. A recipe's parameters are the fields ``RECIPE.NAME``."""
        recipe = form.get("recipe", "")
        return cls(recipe, form.get("servers", ""), tuple(form.all("tick")), form.beginning(f"{recipe}."))

    @property
    def node_set(self) -> str:
        """The servers that were written and those that were ticked, as one set."""
        return ",".join(filter(None, (self.servers.strip(), *self.ticks)))


@dataclass(frozen=True)
class Verdict:
    """What is wrong with a wish, a sentence for each field at fault, and what it stands for."""

    errors: dict[str, str]
    servers: tuple[str, ...] = ()
    parameters: dict[str, Any] = field(default_factory=dict)

    def as_object(self) -> dict[str, Any]:
        """The verdict for programs."""
        return {"ok": not self.errors, "errors": self.errors, "count": len(self.servers),
                "servers": fold(self.servers), "parameters": self.parameters}  # fmt: skip


def check(wish: Wish) -> Verdict:
    """Hold a wish against the site and its recipe. Parameters' errors are called ``RECIPE.NAME``."""
    errors: dict[str, str] = {}
    recipe, parameters = _recipe(wish, errors)
    return Verdict(errors, _servers(wish, recipe, errors), parameters)


def _recipe(wish: Wish, errors: dict[str, str]) -> tuple[Recipe | None, dict[str, Any]]:
    if not wish.recipe:
        errors["recipe"] = "Choose a recipe."
        return None, {}
    try:
        recipe = recipes.find(wish.recipe)
    except CloudmeshError as error:
        errors["recipe"] = str(error)
        return None, {}
    try:
        return recipe, recipe.check(wish.parameters)
    except ParametersWrong as error:
        errors.update({f"{wish.recipe}.{name}": f"It {text}" for name, text in error.errors.items()})
        return recipe, {}


def _servers(wish: Wish, recipe: Recipe | None, errors: dict[str, str]) -> tuple[str, ...]:
    if not wish.node_set:
        errors["servers"] = "Write or tick the servers to launch on."
        return ()
    try:
        return actors.check_servers(recipe, wish.node_set) if recipe else site.current().nodes(wish.node_set)
    except CloudmeshError as error:
        errors["servers"] = str(error)
        return ()


def boxes() -> dict[str, tuple[str, ...]]:
    """The servers that can be ticked one by one, by cluster; of a large cluster none."""
    clusters = site.current().clusters.values()
    return {each.name: each.nodes if len(each.nodes) <= MOST_TICKS else () for each in clusters}


def picture(recipe: Recipe) -> Markup:
    """The picture of a recipe: drawn in the page when it is one of ours, which takes on the page's colours."""
    if "/" not in recipe.image:
        return _drawing(recipe)
    return Markup('<img src="/cm/launch/recipes/{}/image" alt="">').format(recipe.name)


@cache
def _drawing(recipe: Recipe) -> Markup:
    return Markup(recipes.image_file(recipe).read_text())  # noqa: S704 - a file of this library
