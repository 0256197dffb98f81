"""Toyworld's stories: about a hundred words each, in six short paragraphs, in the manner of TinyStories.

Three plots: a toy is lost, a birthday is kept, a friend is rescued. The first paragraph settles the
child, the animal friend, the toy and where they live; every later one keeps to them.
Refuses to know probabilities: templates and words only.
"""

from tinylm.text.toyworld.grammar import Grammar
from tinylm.text.toyworld.story_words import ANIMAL, FRIEND, HERO, PLACE, STORY_WORDS, TOY

LOST = [
    [
        "Once a [kind] {girl} named {hero} lived in a [cosy] house {place}. {He} had {a} [quality] {toy} "
        "and a [kind] {animal}, {friend}.",
        "{hero} was a [kind] {girl} {place}. With {friend}, a [kind] {animal}, {he} took {his} [quality] "
        "{toy} to the [spot] every day.",
        "Long ago a [kind] {girl} called {hero} had {a} [quality] {toy}. {He} shared {it} with {friend}, a "
        "[kind] {animal} {place}.",
        "{hero} was a [kind] {girl}, and {his} friend was {friend}, a [kind] {animal}. In a [cosy] house "
        "{place} they kept {a} [quality] {toy}.",
        "In a [cosy] house {place} lived {hero}, a [kind] {girl} with {a} [quality] {toy}. {friend} the "
        "[kind] {animal} slept [under] a [box].",
    ],
    [
        "One [weather] [time] the {toy} {was} gone. {hero} looked [under] a [size] [box] and found a "
        "[quality] [tool].",
        "But one [weather] [time] a [temper] [beast] took the {toy} and [went] past the [worker]'s [size] "
        "[box].",
        "One [weather] [time] {he} could not find the {toy}. {He} sat [under] a [size] [box] with some "
        "[taste] [food].",
        "One [weather] [time] {hero} [went] out [gladly], and the {toy} fell [under] the [worker]'s [size] "
        "[box].",
        "On a [weather] [time] a [temper] [worker] left the {toy} [under] a [size] [box] near the [spot].",
    ],
    [
        '"Do not be [sad]," said {friend}. "Ask the [temper] [worker] at the [spot]." So they packed '
        "[taste] [food].",
        '{friend} [danced] [softly]. "I smell [taste] [food] near the [spot]. A [temper] [beast] must be '
        'there!"',
        '"I have a plan," said {friend} [softly]. "Bring a [size] [tool], a [quality] [box] and some '
        '[taste] [food]."',
        'The {animal} put on a [quality] [coat]. "Come," said {friend} [softly], "we must ask the [temper] '
        '[worker]."',
        '{friend} ate some [taste] [food]. "Now," said the [kind] {animal} [softly], "look [under] every '
        '[size] [box]."',
    ],
    [
        "They met a [temper] [worker] with a [size] [tool]. {hero} helped [gladly] and was given [taste] "
        "[food].",
        'A [temper] [beast] sat [under] a [size] [box]. "Have you seen my {toy}?" asked {hero} [softly].',
        "They looked [under] a [size] [box] and met a [temper] [beast] with a [quality] [tool], but saw no "
        "{toy}.",
        "{hero} [went] [gladly] to the [spot], and {friend} carried a [size] [quality] [tool] and some "
        "[taste] [food].",
        "A [temper] [worker] drew a [quality] map. It led past the [spot], round a [size] [box] and "
        "through [taste] [food].",
    ],
    [
        "At last {friend} saw the {toy} [under] a [size] [box]. {hero} [danced] [gladly] and gave the "
        "{animal} [taste] [food].",
        'A [temper] [beast] brought the {toy}. "I am sorry," it said [softly]. "I wanted a [size] [tool] '
        'and [taste] [food]."',
        "There {was} the {toy}, [under] the [worker]'s [size] [box]! {hero} felt [glad] and gave {friend} "
        "a [quality] [coat].",
        'Then a [temper] [worker] held up the {toy}. "Look what I found [under] a [size] [box] near the '
        '[spot]!"',
        "{friend} dug [gladly] with a [size] [tool], and up came the {toy}! {hero} [danced] and made "
        "[taste] [food].",
    ],
    [
        "At home {place} {hero} and the {animal} ate [taste] [food] and told a [odd] tale about a [temper] "
        "[beast].",
        "Back {place} they put the {toy} [under] a [size] [box], and {hero} gave the [kind] {animal} "
        "[taste] [food].",
        "Now {he} keeps the {toy} [under] a [size] [box] {place}, and a [temper] [beast] guards {it} "
        "[gladly].",
        "After that {hero} shared the {toy} with a [temper] [worker] {place}, and the [kind] {animal} was "
        "[glad].",
        'Back {place} they [danced] with a [size] [tool]. "You are a [kind] friend," {hero} told the '
        "{animal} [softly].",
    ],
]

BIRTHDAY = [
    [
        "It was the birthday of {friend} the {animal}. {hero}, a [kind] {girl} from a [cosy] house "
        "{place}, had {a} [quality] {toy} to give.",
        "One [weather] [time] {hero}, a [kind] {girl} {place}, wrapped {a} [quality] {toy} for {friend}, a "
        "[kind] {animal}.",
        "{hero} and {friend} the {animal} lived {place}. For the birthday the [kind] {girl} made {a} "
        "[quality] {toy} and [taste] [food].",
        '"My birthday is [when]," said {friend} the {animal} [softly]. {hero}, a [kind] {girl} {place}, '
        "found {a} [quality] {toy}.",
        "A [kind] {girl} named {hero} had {a} [quality] {toy} as a birthday present for {friend}, the "
        "[kind] {animal} {place}.",
    ],
    [
        "A [temper] [worker] brought [taste] [food], and a [temper] [beast] brought a [size] [box] for the "
        "{animal}.",
        "First {hero} baked [number] [taste] cakes with [taste] [food]. Then {he} found a [quality] [tool].",
        "{hero} hid the {toy} [under] a [size] [box], and a [temper] [beast] guarded {it} [gladly] with a "
        "[tool].",
        "{hero} put on a [quality] [coat] and [went] [gladly] to the [spot] to find a [size] [tool] and "
        "[taste] [food].",
        '{hero} wrote to a [temper] [worker] and a [temper] [beast]: "Come to the [spot] [when] and bring '
        '[taste] [food]!"',
    ],
    [
        "But a [temper] [beast] ate the [taste] [food]! {hero} felt [sad] and hid [under] a [size] [box].",
        "The wind blew a [size] [box] into the [spot]. {hero} felt [sad], but the [kind] {animal} [danced] "
        "[softly].",
        "A [temper] [worker] sat on the {toy}, and {hero} had to mend {it} with a [size] [tool] and "
        "[taste] [food].",
        "Who could find the {toy}? A [temper] [beast] had put {it} [under] a [size] [box] near the [spot].",
        "A [temper] [beast] told {friend} of the {toy}. {hero} was [sad] and threw [taste] [food] at a "
        "[size] [box].",
    ],
    [
        "The party began with [taste] [food]. A [temper] [worker] [danced] [gladly] with a [temper] [beast].",
        "[Number] guests came. A [temper] [worker] told a [odd] tale, and a [temper] [beast] brought a "
        "[quality] [tool].",
        "All ate [taste] [food] [under] a [size] [box]. A [temper] [beast] [danced], and {hero} clapped "
        "[gladly].",
        '"Let us [dance] [gladly]!" cried {friend}. A [temper] [worker] came first and a [temper] [beast] '
        "next.",
        "A [temper] [worker] lit a [size] lamp, and {hero} shared [taste] [food] with [number] [temper] "
        "guests.",
    ],
    [
        '{friend} looked [under] a [size] [box] and saw the {toy}. "Just what I wanted!" said the [kind] '
        "{animal} [softly].",
        '{hero} gave {friend} the {toy}. "For my [kind] friend," {he} said [softly], and the {animal} '
        "[danced] [gladly].",
        'The {animal} took the {toy} and [went] round a [size] [box]. "Thank you, [kind] {hero}," said '
        "{friend} [softly].",
        "{friend} took the {toy} and showed {it} to a [temper] [worker], who felt [glad] and gave {hero} "
        "[taste] [food].",
        "{friend} hugged {hero} for the {toy}, and {he} gave the {animal} a [size] [coat] with [number] "
        "[quality] buttons.",
    ],
    [
        "At last {hero} swept the house {place} with a [size] [tool] and gave the [kind] {animal} [taste] "
        "[food].",
        "They still talk {place} of the [weather] day when {hero} [danced] [gladly] with {friend} and a "
        "[temper] [beast].",
        "So {friend} and {hero} sat {place}, [temper] and [glad], with a [quality] [tool] and a [size] "
        "[box].",
        "That night {hero} sat {place} with the [kind] {animal} [under] a [size] [box], and they [danced] "
        "[softly].",
        "Every year {hero} and the {animal} eat [taste] [food] {place} and [dance] [gladly] with a "
        "[temper] [worker].",
    ],
]

RESCUE = [
    [
        "One [weather] [time] {hero}, a [kind] {girl}, left {his} home {place} to show {a} [quality] {toy} "
        "to {friend} the {animal}.",
        "A storm came to the house {place}, where {hero}, a [kind] {girl}, had {a} [quality] {toy}. "
        "{friend} the {animal} was near the [spot].",
        "{friend} was a [kind] {animal} who loved to climb. {hero}, a [kind] {girl} {place}, sat below "
        "with {a} [quality] {toy}.",
        "On a [weather] [time] a [kind] {girl} named {hero} took {a} [quality] {toy} for a walk {place}. "
        "{friend} the {animal} [went] ahead.",
        'A [worker] came to the house {place}. "Quick, {hero}, take the [quality] {toy}! {friend} the '
        '{animal} needs you!" The [kind] {girl} ran.',
    ],
    [
        "{friend} was stuck [under] a [size] [box] near the [spot]! The [kind] {animal} [danced] [softly] "
        "for help.",
        '"Help!" cried {friend} [softly]. "A [temper] [beast] has locked me in a [size] [box] near the '
        '[spot]!"',
        "Soon {hero} saw the {animal} up on a [quality] [box]. A [temper] [beast] had [temper] eyes and a "
        "[size] [tool].",
        "There lay {friend} [under] a [size] [box]. The {animal} had slipped on [taste] [food] and felt "
        "[sad].",
        "The {animal} had chased a [temper] [beast] into the [spot] and hit a [size] [box]. {friend} felt "
        "[sad].",
    ],
    [
        '"Do not be [sad]," said {hero} [softly]. {He} pulled with a [size] [tool], but the [quality] [box] '
        "did not move.",
        "{hero} put down the {toy} and called [softly] to a [temper] [worker] with a [size] [tool] and "
        "[taste] [food].",
        '"I will help," said {hero} [softly], "but I need a [size] [tool], a [quality] [box] and [taste] '
        '[food]."',
        "{hero} [went] [number] times round a [size] [box], [danced] [softly] and fell over a [temper] "
        "[beast].",
        "{hero} asked a [temper] [beast] for help. It [danced] [softly], ate [taste] [food] and slept "
        "[under] a [box].",
    ],
    [
        "A [temper] [worker] came from the [spot] with [taste] [food] and a [size] [tool], and they pulled "
        "[softly].",
        'A [temper] [beast] [danced] [softly]. "You need a [size] [tool]," it said, "or a [temper] '
        '[worker]."',
        'A [temper] [worker] gave the {animal} [taste] [food] [under] a [size] [box]. "Not long now," said '
        "{hero} [softly].",
        "{hero} thought [softly]. Then {he} tied a [quality] [tool] to a [size] [box] and called a "
        "[temper] [beast].",
        "It grew dark. {hero} lit a [size] candle, sang to the {animal} of a [temper] [beast] and ate "
        "[taste] [food].",
    ],
    [
        "{hero} pushed the {toy} [under] a [size] [box], and {friend} was free! The [kind] {animal} "
        "[danced] [gladly].",
        "Then {hero} threw the {toy} to {friend}, who caught {it} [softly] and slid down a [size] "
        "[quality] [box].",
        'The {toy} made a [odd] noise, and a [temper] [beast] [went] away. "Thank you, [kind] {hero}," '
        "said {friend} [softly].",
        "{hero} gave the {toy} to a [temper] [worker], who broke the [size] [box] with {it}. The {animal} "
        "felt [glad].",
        "With the {toy} and a [size] [tool] {hero} reached {friend}, and they [went] [gladly] past a "
        "[temper] [beast].",
    ],
    [
        "At home {place} they ate [taste] [food]. {friend} put the {toy} [under] a [size] [box] and slept "
        "[softly].",
        'Back {place} {hero} made [taste] [food]. "I will stay [under] a [size] [box]," said the [kind] '
        "{animal} [softly].",
        "A [odd] song {place} says that {hero} and {friend} are [kind], and so is every [temper] [beast] "
        "and [worker].",
        "That [weather] night {place} {hero} gave the {animal} a [quality] [coat] and [danced] [gladly] "
        "with a [beast].",
        "When {friend} goes to the [spot], {hero} comes with a [size] [tool] from the [cosy] house {place}.",
    ],
]

GRAMMAR = Grammar(
    variables=[HERO, FRIEND, ANIMAL, TOY, PLACE],
    words=STORY_WORDS,
    plots=[(1, LOST), (1, BIRTHDAY), (1, RESCUE)],
    line_separator="\n",
    separator="\n\n",
)

LABELS = {
    "hero": "hero",
    "friend": "friend",
    "animal": "friend's kind",
    "toy": "toy",
    "place": "home",
    "girl": "hero",
    "he": "pronoun",
    "him": "pronoun",
    "his": "pronoun",
}
