"""One wrong word: the planted fault that toyworld's grader must find. Knows only the world's own words."""

import re

import numpy as np

from tinylm.text.toyworld.world import World

WORD = re.compile(r"[A-Za-z][A-Za-z'-]*")
THE_MATTER = ("hero", "friend", "thing", "guest", "pet", "day", "toy", "animal")
# Forms of one word, of which a sentence of the world takes exactly one.
FAMILIES = (
    "is are was were be am | it them | that those | he she | him her his | a some | girl boy | has have "
    "had | lose lost | leave left | break broke | make made | give gave | find found | see saw | sit sat "
    "sits | put puts | hide hid hides | want wants wanted | bring brings brought | know known | lie lay | "
    "feel felt | come comes came | go goes went | take took | eat ate | say said | owe owes | sell sold "
    "sells | buy bought | pay paid | hear heard | feed fed | keep keeps kept | fall fell | call called | "
    "ask asked | look looked | help helped | live lived | need needs | wear wears | show shows showed | "
    "love loves | like likes | wrap wrapped | tell told | guard guards guarded | hug hugged | throw threw "
    "| catch caught | dance dances danced | sing sings sang | laugh laughed | smile smiled | clap clapped "
    "| jump jumped | walk walked | run ran | work works worked | sleep sleeps slept | house houses | "
    "friend friends | guest guests | cake cakes | button buttons | steal stolen"
)


def vocabulary(world: World) -> set[str]:
    """Every word that the world can write."""
    templates = [t for p in world.plots.options for pool in p.lines for t in pool.options]
    texts = [text for template in templates for token in template.tokens for text in token.choice.options]
    return {word for text in texts for word in WORD.findall(text)}


def rivals(world: World) -> dict[str, list[str]]:
    """For each word that one can get wrong: the words that would be wrong in its place."""
    words, groups = vocabulary(world), []
    variables = [variable for plot in world.plots.options for variable in plot.settled]
    values = {field: [v[field] for v in var.options] for var in variables for field in var.options[0]}
    groups.append(sorted({w for f in ("hero", "friend") for w in values[f]}))
    groups += [sorted({w for w in values[f]}) for f in THE_MATTER[2:] if f in values]
    groups += [[w for w in family.split() if w in words] for family in FAMILIES.split(" | ")]
    found: dict[str, list[str]] = {}
    for group in groups:
        for word in group:
            found.setdefault(word, []).extend(other for other in group if other != word)
    return {word: others for word, others in found.items() if others}


def corrupted(text: str, wrong: dict[str, list[str]], rng: np.random.Generator) -> str:
    """The text with one word, drawn at random, put wrong."""
    places = [m for m in WORD.finditer(text) if m[0] in wrong or m[0].lower() in wrong]
    place = places[rng.integers(len(places))]
    word = place[0]
    others = wrong.get(word) or [other.capitalize() for other in wrong[word.lower()]]
    return text[: place.start()] + others[rng.integers(len(others))] + text[place.end() :]
