from __future__ import annotations

from pathlib import Path

import pytest

from prox_spark.errors import ConfigError
from prox_spark.training.recipe import Recipe

MODELS = Path(__file__).parents[2] / "models"


@pytest.mark.parametrize("path", sorted(MODELS.glob("*/*.yaml")), ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_shipped_recipes_can_be_read(path: Path) -> None:
    assert Recipe.load(path).name.startswith(path.parent.name)


def test_an_unknown_key_is_an_error_that_names_it(tmp_path: Path) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text("name: x\nbase: b\ndata: d\nout: o\nlayer: 3\n")
    with pytest.raises(ConfigError, match="layer"):
        Recipe.load(path)


def test_a_missing_recipe_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no recipe"):
        Recipe.load(tmp_path / "none.yaml")


def test_yaml_that_would_build_objects_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text("name: !!python/object/apply:os.getcwd []\n")
    with pytest.raises(ConfigError):
        Recipe.load(path)
