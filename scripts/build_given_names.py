"""Build the bundled list from the person providers of the Faker package (MIT licence).

Run: python -m scripts.build_given_names

Every given name of every locale, accent-folded to a-z, lower case, distinct, sorted. Names that do not fold to
letters a-z alone (other scripts, apostrophes, spaces) and single letters are left out.
"""

from __future__ import annotations

import importlib
import pkgutil
import re
import unicodedata

import faker
import faker.providers.person

from scripts import common

TARGET = common.ROOT / "src/rungwise/data/given-names.txt"


def fold(name: str) -> str:
    decomposed = unicodedata.normalize("NFKD", name.lower())
    return "".join(character for character in decomposed if not unicodedata.combining(character))


def main() -> None:
    names = set()
    for locale in pkgutil.iter_modules(faker.providers.person.__path__):
        provider = importlib.import_module(f"faker.providers.person.{locale.name}").Provider
        for attribute in dir(provider):
            values = getattr(provider, attribute)
            if re.fullmatch(r"first_names\w*", attribute) and isinstance(values, tuple | list | dict):
                names.update(map(fold, values))
    kept = sorted(name for name in names if re.fullmatch(r"[a-z]{2,}", name))
    TARGET.write_text("".join(f"{name}\n" for name in kept), encoding="utf-8", newline="\n")
    print(f"{TARGET.name}: {len(kept):,} names from Faker {faker.VERSION}")


if __name__ == "__main__":
    main()
