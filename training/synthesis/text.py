"""English sentences to be spoken by synthesisers: grammatical enough, and rich in phones.

Templates filled from short lists of everyday words, with every few words one drawn from a large
dictionary for coverage; P, B, M, F, V and rounded vowels are over-represented on purpose.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence


def _words(text: str) -> tuple[str, ...]:
    """Entries separated by white space; an underscore stands for a space within one."""
    return tuple(entry.replace("_", " ") for entry in text.split())


_PEOPLE = _words("""
    my_mother the_boss Bob Emma a_farmer the_pilot our_bishop that_woman Tom_Baker the_mayor
    my_best_friend the_whole_family nobody somebody Mr_Palmer the_youngest_of_them her_brother
    everyone_here the_old_captain Philip the_people_upstairs a_famous_lawyer your_cousin_Judy
""")
_PRONOUNS = _words("I you he she we they it who this that")
_NOUNS = _words("""
    bottle paper river puppy bubble map table garden engine mirror bridge market museum valley
    lamp beaver thumb moon spoon boot tooth path measure garage watch beach boat toy house cloud
    town owl book wool bush wood ball saw thought job box clock heart car bird nurse girl world
    year ear beer chair hair tour fire hour flower apple bag cat hand lake rain game tree queen
    sea bead ship pin bed head pen leg pump rope robe lip rib web wave leaf glove vase coffee
    problem member number company computer movie music photo vegetable village television mouth
    south shop lab top mob
""")
_ADJECTIVES = _words("""
    big small happy purple broken quiet bright heavy warm bitter empty famous brave simple whole
    vague smooth rapid gloomy awful humble sharp clever foolish public private deep blue green
    wild thick pale busy pretty rough fresh cheap favourite beautiful impossible five many more
""")
_PAST = _words("""
    moved helped pushed watched followed bought brought believed borrowed gave kept measured
    pulled saved shaped thanked threw visited opened closed found forgot remembered made broke
    bumped climbed proved beat chewed judged heard left paid_for played_with showed wrapped mopped
    grabbed
""")
_BASE = _words("""
    move help push watch follow buy bring believe borrow give keep measure pull save shape thank
    throw visit open close find forget remember make break bump climb prove beat chew judge hear
    leave wrap mop grab imagine improve
""")
_PLACES = _words("""
    in on under above behind beside before after with without from toward past through near
    between across by on_top_of in_front_of
""")
_ADVERBS = _words("""
    slowly quickly maybe never always often perhaps probably usually carefully again tomorrow
    yesterday today below everywhere somehow finally suddenly by_the_way at_the_moment of_course
""")
_DETERMINERS = _words("the a my your our their this that every some his her one no")
_ASKING = _words("why when how where do_you_know_how could_you_tell_me_why")
_JOINING = _words("and but so because while when if or although before")
_CALLS = _words("Oh_no Hmm Well Wow Ah_yes Please Hey Mum Okay Um Uh Right")
_NUMBERS = _words("""
    one two three four five six seven eight nine ten eleven twelve twenty fifty
""")


def sentences(seed: int, words: Sequence[str]) -> Iterator[str]:
    """Endless different sentences, the same for the same seed.

    Args:
        seed: of the random choice.
        words: rare words to sprinkle in, e.g. a pronunciation dictionary's.
    """
    chance = random.Random(seed)
    vocabulary = sorted(word for word in words if word.isalpha() and 3 <= len(word) <= 11)
    while True:
        text = _sentence(chance, vocabulary)
        yield text[0].upper() + text[1:]


def _sentence(chance: random.Random, vocabulary: Sequence[str]) -> str:
    def noun() -> str:
        rare = vocabulary and chance.random() < 0.35
        return chance.choice(vocabulary if rare else _NOUNS)

    def thing() -> str:
        adjective = f"{chance.choice(_ADJECTIVES)} " if chance.random() < 0.5 else ""
        return f"{chance.choice(_DETERMINERS)} {adjective}{noun()}"

    def actor() -> str:
        return chance.choice((thing(), chance.choice(_PEOPLE), chance.choice(_PRONOUNS)))

    def clause() -> str:
        parts = [actor(), chance.choice(_PAST), thing()]
        if chance.random() < 0.5:
            parts += [chance.choice(_PLACES), thing()]
        if chance.random() < 0.35:
            parts.append(chance.choice(_ADVERBS))
        return " ".join(parts)

    kind = chance.random()
    if kind < 0.10:  # a list of words, each with its own stress
        return ", ".join(noun() for _ in range(chance.randint(3, 6))) + "."
    if kind < 0.18:  # a question
        return f"{chance.choice(_ASKING)} {actor()} {chance.choice(_PAST)} {thing()}?"
    if kind < 0.26:  # an order
        return f"{chance.choice(_BASE)} {thing()} {chance.choice(_PLACES)} {thing()}!"
    if kind < 0.32:  # numbers
        return f"{', '.join(chance.choices(_NUMBERS, k=chance.randint(2, 6)))} {noun()}."
    if kind < 0.42:  # a call, with the pause that follows it
        return f"{chance.choice(_CALLS)}, {clause()}."
    if kind < 0.62:
        return f"{clause()}, {chance.choice(_JOINING)} {clause()}."
    return f"{clause()}{chance.choice('..?!')}"
