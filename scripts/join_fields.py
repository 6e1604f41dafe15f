"""Join the cases `rothamsted` and `woburn` into one, in which what differs between fields is free.

    python scripts/join_fields.py            rewrites data/cases/rothamsted_woburn.toml
    python scripts/join_fields.py --check    exits 1 where the case on disk differs

What the two cases say of soils, land uses, treatments, observations and priors is taken as it
stands; a land use of the same name has to be the same in both. The experiment begins where that of
Rothamsted does. What is the same for all fields in them, or a parameter of its own for one field,
differs here between sites or groups of them, the five blocks of Woburn being one.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import tomlkit

from diffsoil.cases import load_case

DATA = Path(__file__).resolve().parents[1] / "data"
CASE = DATA / "cases" / "rothamsted_woburn.toml"

WOBURN = "woburn"
DIFFERING = {
    "carbon.k_hum": "site",
    "vegetation.input_factor.old_arable": "group",
    "vegetation.input_factor.wheat_base": "group",
    "vegetation.input_factor.arable": "group",
    "vegetation.input_factor.grass": "group",
}
"""What differs, and between what."""
OF_ONE_FIELD = ("vegetation.input_factor.fosters_arable", "vegetation.input_factor.fosters_grass")
"""What a parameter that differs takes the place of."""
NOT_COMPARED = ("like", "crop", "plant_carbon_t_ha", "litter_cations_g_kg")
"""What a land use may leave to the management, or say in another way; and what no case uses."""

HEAD = """Made by scripts/join_fields.py of the cases rothamsted and woburn, whose notes hold here
too. Priors, rules of input and data are theirs; blocks of Woburn are sites, and one group."""

NOTES = {
    "fields": "what differs between fields (rate of HUM; inputs of old arable, of arable crops and "
    "of grass) has a median and a spread, so that another field is predicted as far off as these "
    "are apart",
    "woburn": "arable from 1002 to 1937 with the weather of Rothamsted and 0.9 of its rain; after "
    "its last year, 2009, forage maize: nothing was measured then",
    "withheld": "the Wilderness and the rotations af of Woburn are predicted, never fitted",
}


def union(name: str, first: dict[str, Any], second: dict[str, Any]) -> dict[str, Any]:
    """Two tables of the cases as one.

    Raises:
        ValueError: a name has different content in them.
    """
    for key in first.keys() & second.keys():
        if first[key] != second[key]:
            raise ValueError(f"{name}.{key}: differs between the cases")
    return first | second


def land_uses() -> dict[str, Any]:
    """Land uses of both; those of one name as Rothamsted has them.

    Raises:
        ValueError: a name means different things in them.
    """
    texts = [tomlkit.parse(_text(name)).unwrap()["land_use"] for name in ("rothamsted", WOBURN)]
    files = [load_case(name).file.land_use for name in ("rothamsted", WOBURN)]
    for name in files[0].keys() & files[1].keys():
        first, second = (of[name].model_dump(exclude=set(NOT_COMPARED)) for of in files)
        if first != second:
            raise ValueError(f"land_use.{name}: differs between the cases")
    return texts[1] | texts[0]


def joined() -> str:
    """The text of the case."""
    rothamsted, woburn = (tomlkit.parse(_text(n)).unwrap() for n in ("rothamsted", WOBURN))
    blocks = list(woburn["site"])
    early, late = rothamsted["history"]
    normals = dict.fromkeys(rothamsted["site"], "early") | dict.fromkeys(blocks, "woburn_early")
    weather = dict.fromkeys(rothamsted["site"], "weather")
    of_woburn = [treatment["name"] for treatment in woburn["treatment"]]
    before = woburn["history"][-1]
    treatments = [
        {key: value for key, value in treatment.items() if key != "input_groups"}
        for treatment in rothamsted["treatment"]
    ]
    observed = [rothamsted["observations"], woburn["observations"]]
    case = {
        "format": 2,
        "name": CASE.stem,
        "title": "Rothamsted and Woburn: four fields, with what differs between them",
        "start_year": rothamsted["start_year"],
        "minimum": rothamsted["minimum"],
        "notes": NOTES,
        "grid": union("grid", rothamsted["grid"], woburn["grid"]),
        "climate": rothamsted["climate"]
        | {f"{WOBURN}_{name}": climate for name, climate in woburn["climate"].items()},
        "site": rothamsted["site"] | woburn["site"],
        "group": {WOBURN: blocks},
        "soil": rothamsted["soil"] | woburn["soil"],
        "land_use": land_uses(),
        "history": [
            early | {"climate": normals},
            late
            | {
                "climate": normals,
                "land_use": late["land_use"] | dict.fromkeys(blocks, before["land_use"]),
            },
        ],
        "experiment": {
            "until": rothamsted["experiment"]["until"],
            "climate": weather | dict.fromkeys(blocks, f"{WOBURN}_weather"),
            "management": [of["experiment"]["management"] for of in (rothamsted, woburn)],
        },
        "management": [
            {"until": before["until"], "treatment": of_woburn, "land_use": before["land_use"]},
            {
                "from": woburn["experiment"]["until"] + 1,
                "treatment": of_woburn,
                "land_use": "fodder",
                "plant_carbon_t_ha": 1.0,
                "yield_t_ha": 10.0,
            },
        ],
        "treatment": [*treatments, *woburn["treatment"]],
        "set": union("set", rothamsted["set"], woburn["set"]),
        "observations": {
            "files": [name for of in observed for name in of["files"]],
            "keep_out": observed[0]["keep_out"],
            "keep_out_treatments": observed[1]["keep_out_treatments"],
            "method_factors": observed[0]["method_factors"],
            "errors": observed[0]["errors"] | observed[1]["errors"],
        },
        "success": rothamsted["success"] | woburn["success"],
        "free": _free(rothamsted["free"], woburn["free"]),
    }
    document = tomlkit.document()
    for line in HEAD.splitlines():
        document.add(tomlkit.comment(line))
    document.update(case)
    return tomlkit.dumps(document)


def _free(first: dict[str, Any], second: dict[str, Any]) -> dict[str, Any]:
    """Free parameters of both, with what differs.

    Raises:
        ValueError: the cases have different priors of one.
    """
    found = {}
    for name, of in {**second, **first}.items():
        for other in (first.get(name, of), second.get(name, of)):
            if other.get("prior") != of.get("prior"):
                raise ValueError(f"free.{name}.prior: differs between the cases")
        if name not in OF_ONE_FIELD:
            own = {key: value for key, value in of.items() if key in ("prior", "reason")}
            found[name] = own | ({"by": DIFFERING[name]} if name in DIFFERING else {})
    return found


def _text(name: str) -> str:
    return (DATA / "cases" / f"{name}.toml").read_text(encoding="utf-8")


def main(arguments: list[str] | None = None) -> int:
    """Write the case, or compare it with that on disk."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="compare only, exit 1 if different")
    text = joined()
    if not parser.parse_args(arguments).check:
        CASE.write_text(text, encoding="utf-8", newline="\n")
        return 0
    if CASE.is_file() and CASE.read_text(encoding="utf-8") == text:
        return 0
    print(f"{CASE.name}: differs from what the script makes", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
