"""Short names and import paths to objects."""

import math
from pathlib import Path

import pytest

from kernelwright.tasks.errors import InputError, UnknownName
from kernelwright.tasks.resolve import resolve

TABLE = {"root": "math:sqrt", "join": "pathlib:Path.joinpath"}


def test_a_short_name() -> None:
    assert resolve("function", "root", TABLE) is math.sqrt


def test_an_import_path_of_ones_own() -> None:
    assert resolve("function", "math:floor", TABLE) is math.floor


def test_an_attribute_of_an_attribute() -> None:
    assert resolve("function", "join", TABLE) is Path.joinpath


@pytest.mark.parametrize("name", ["roof", "", "math", "math:", ":sqrt"])
def test_an_unknown_name_lists_what_there_is(name: str) -> None:
    with pytest.raises(UnknownName, match="unknown function") as error:
        resolve("function", name, TABLE)
    assert error.value.remedy == "available: join, root"


def test_an_unknown_module_is_told() -> None:
    with pytest.raises(UnknownName, match="no module 'nowhere'") as error:
        resolve("policy", "nowhere.near:Thing", TABLE)
    assert "join, root" in error.value.remedy


def test_an_unknown_attribute_lists_the_module_s() -> None:
    with pytest.raises(UnknownName, match="math has no 'sqr'") as error:
        resolve("function", "math:sqr", TABLE)
    assert "sqrt" in error.value.remedy


def test_a_missing_package_is_not_an_unknown_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "plugin_of_a_user.py").write_text("import package_that_is_not_there\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(InputError, match="needs the package 'package_that_is_not_there'") as error:
        resolve("backend", "plugin_of_a_user:Backend", TABLE)
    assert not isinstance(error.value, UnknownName)
    assert error.value.remedy == "pip install package_that_is_not_there"
