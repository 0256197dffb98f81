"""Toyworld's plays: scenes of four speeches between a hero and a friend, in Tiny Shakespeare's characters.

Three plots: something is lost, something is given, somebody is invited. The first speech settles the
hero, the friend and the matter; every later speech keeps to them, and by the last one each has come back.
Refuses to know probabilities: templates and words only, at most 250 characters a text.
"""

from tinylm.text.toyworld.grammar import Grammar
from tinylm.text.toyworld.templates import Variable
from tinylm.text.toyworld.words import HE, NAMES, SHE, WORDS, listed, things

CAST = Variable([{"hero": hero, "friend": friend} for hero in NAMES for friend in NAMES if hero != friend])

LADIES = listed("abbess | bride | empress | fairy | lady | nurse | queen | widow | witch")
LORDS = listed("captain | duke | giant | hermit | jester | king | mayor | ogre | squire | tutor | vicar")
GUEST = Variable([{"guest": lady} | SHE for lady in LADIES] + [{"guest": lord} | HE for lord in LORDS])

PETS = (
    "ape | bear | cow | donkey | ferret | hen | iguana | jackal | kitten | lizard | mule | "
    "newt | ox | parrot | quail | raven | snail | turtle | yak | zebra"
)
PET = Variable([{"pet": pet} for pet in listed(PETS)])
DAY = Variable([{"day": f"{day}day"} for day in listed("Mon | Tues | Wednes | Thurs | Fri | Satur | Sun")])

PLACES = (
    "in the garden | at the mill | by the river | on the bridge | in the barn | under the oak "
    "| at the fair | on the hill | in the attic | by the well | on the pier | in the cellar | "
    "at Fox & Sons | by the sea | in the wood | on the roof"
)
PLACE = Variable([{"place": place} for place in listed(PLACES)])

PLAY_WORDS = WORDS | {
    "greet": "Dear | Good | Kind | Come, | Hark, | Look, | Oh, | Alas, | Help, | Wait, | Hush, | Quick, "
    "| Hello, | Pray, | Here, | Ho,",
    "comfort": "Cheer up | Take heart | Be calm | Sit down | Calm down | Breathe | Keep still | Never "
    "mind | Be brave | Trust me | Fear not | Have a bun | Good news | Stand up | Wake up | "
    "Hush",
    "search": "dig | look | hunt | search | wait | listen | peep | call | knock | climb | crawl | sniff",
    "lives": "lives | sits | sings | hides | snores | dances | waits | works | swims | reads | sleeps | hums",
    "mend": "mend | clean | fetch | paint | wash | carry | borrow | sell | polish | draw | weigh | hide",
    # A dollar sign is as rare in Tiny Shakespeare; here it is at least something to spend.
    "price": "[number] [coin] @15 | $3",
    "number": "two | 3 | four | five | six | seven | nine | ten",
    "coin": "crowns | pence | pounds | coins | ducats | francs",
    "coat": "coat | bonnet | scarf | crown | collar | cape | wig | bow | shawl | jacket | belt | veil",
}

LOST = [
    [
        "{hero}:\n[greet] {friend}! I lost my [quality] {thing} {place}.",
        "{hero}:\n[greet] {friend}! I left my [quality] {thing} {place}.",
        "{hero}:\n[greet] {friend}! I broke my [quality] {thing} {place}.",
        "{hero}:\n[greet] {friend}! My [quality] {thing} {was} stolen {place}.",
        "{hero}:\n[greet] {friend}! {Is} {that} my [quality] {thing} {place}?",
    ],
    [
        "{friend}:\n[comfort], {hero}! The [temper] [worker] has {it}.",
        "{friend}:\n[comfort]! I saw {it} with a [temper] [worker].",
        "{friend}:\nYour {thing}? Ask the [temper] [worker] [when].",
        "{friend}:\n[comfort]! The [temper] [worker] will help [when].",
        "{friend}:\nWas it the [temper] [beast], {hero}? [comfort]!",
        "{friend}:\nI saw a [temper] [beast] [dance] with {it}, {hero}.",
    ],
    [
        "{hero}:\nBring a [size] [tool] and [search] {place}!",
        "{hero}:\nThen let us [search] [gladly] {place}.",
        "{hero}:\nI will [search] {place} [when], {friend}.",
        "{hero}:\nNo, the [temper] [beast] [lives] {place}!",
        "{hero}:\nThen hide {place} with a [size] [tool].",
    ],
    [
        "{friend}:\nLook! A [temper] [worker] found your {thing}.",
        "{friend}:\nHere {is} your {thing}, [under] a [size] [box]!",
        "{friend}:\nYour {thing} {is} safe! Eat [taste] [food] now.",
        "{friend}:\nI have your {thing} and a [size] [quality] [tool].",
        "{friend}:\nSee, a [temper] [beast] brings your {thing}!",
        "{friend}:\nI sold your {thing} for [price] and [food].",
    ],
]

GIVEN = [
    [
        "{hero}:\n[greet] {friend}! I made the {guest} {a} [quality] {thing}.",
        "{hero}:\n[greet] {friend}! The {guest} wants {a} [quality] {thing}.",
        "{hero}:\n[greet] {friend}! I owe the {guest} {a} [quality] {thing}.",
        "{hero}:\n[greet] {friend}! I found the {guest} {a} [quality] {thing}.",
        "{hero}:\n[greet] {friend}! Let us buy the {guest} {a} [quality] {thing}.",
    ],
    [
        "{friend}:\n{He} will [dance] [gladly] when {he} sees {it}.",
        "{friend}:\nWill {he} pay [price] for {it}, {hero}?",
        "{friend}:\n{He} can put {it} [under] {his} [size] [box], {hero}.",
        "{friend}:\n{He} has a [temper] [beast] and [taste] [food].",
        "{friend}:\n{He} gave me [price] and a [size] [tool].",
        "{friend}:\nI heard {him} [dance] with a [temper] [worker].",
    ],
    [
        "{hero}:\nPut {it} [under] {his} [size] [box] [when].",
        "{hero}:\nBring {him} a [size] [tool] and [taste] [food].",
        "{hero}:\nThen let {him} [dance] [gladly], {friend}.",
        "{hero}:\nI can hide {it} [under] a [size] [box] [when].",
        "{hero}:\n{He} may [dance]; the [temper] [worker] will not.",
    ],
    [
        "{friend}:\nThe {guest} loves {his} {thing} and paid [price].",
        "{friend}:\nThe {guest} shows {his} {thing} to a [temper] [beast].",
        "{friend}:\nThe {guest} can [dance] [gladly] with {his} {thing}!",
        "{friend}:\nThe {guest} put {his} {thing} [under] a [size] [box].",
        "{friend}:\nThe {guest} and a [temper] [worker] like {his} {thing}.",
        "{friend}:\nThe {guest} sold {his} {thing} for [taste] [food].",
    ],
]

INVITED = [
    [
        "{hero}:\n[greet] {friend}! Feed your [temper] {pet} {place} on {day}.",
        "{hero}:\n[greet] {friend}! On {day} your [temper] {pet} hid {place}.",
        "{hero}:\n[greet] {friend}! Can your [temper] {pet} sit {place} on {day}?",
        "{hero}:\n[greet] {friend}! I need your [temper] {pet} {place} on {day}.",
        "{hero}:\n[greet] {friend}! On {day} I met your [temper] {pet} {place}.",
    ],
    [
        "{friend}:\nOn {day}? I must [mend] a [size] [tool].",
        "{friend}:\nOn {day} we [dance] with a [temper] [beast].",
        "{friend}:\nYes, {hero}! On {day} I bake [taste] [food].",
        "{friend}:\nOn {day} I am [temper] and [dance] [gladly].",
        "{friend}:\nNot {day}! I owe the [worker] [price].",
        "{friend}:\nOn {day} a [beast] ate my [taste] [food].",
    ],
    [
        "{hero}:\nBring a [size] [tool] and [food] {place}.",
        "{hero}:\nA [temper] [worker] will [dance] {place}.",
        "{hero}:\n'Tis well! We can [dance] [gladly] {place}.",
        "{hero}:\n{Place} a [worker] sells [taste] [food].",
        "{hero}:\nLook: a [temper] [beast] [lives] {place}!",
    ],
    [
        "{friend}:\nMy {pet} and I will [dance] [gladly] [when]!",
        "{friend}:\nMy {pet} shall wear a [size] [quality] [coat].",
        "{friend}:\nSee the [temper] [beast] ride on my {pet}!",
        "{friend}:\nMy {pet} wants [taste] [food] [when]!",
        "{friend}:\nMy {pet} owes a [temper] [worker] [price].",
        "{friend}:\nSo be it: my {pet} will [mend] a [size] [tool].",
    ],
]

GRAMMAR = Grammar(
    variables=[CAST, things(), GUEST, PET, DAY, PLACE],
    words=PLAY_WORDS,
    plots=[(1, LOST), (1, GIVEN), (1, INVITED)],
    line_separator="\n\n",
    separator="\n\n\n",
)

LABELS = {
    "hero": "hero",
    "friend": "friend",
    "thing": "object",
    "guest": "guest",
    "pet": "pet",
    "day": "day",
    "place": "place",
    "he": "pronoun",
    "him": "pronoun",
    "his": "pronoun",
}
