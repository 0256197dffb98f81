"""Toyworld's words: the names, things and word lists that both flavours share.

Every word that can follow "a" begins with a consonant, and no list holds two forms of one word: so a
wrong form is always a wrong sentence. Refuses to know sentences.
The templates live in toyworld_plays and toyworld_stories.
"""

from tinylm.text.toyworld.templates import Variable


def listed(words: str) -> list[str]:
    """The words of "one | two | three"."""
    return words.split(" | ")


# One name for each capital letter: the first letter gives the name away.
WOMEN = listed("Anna | Clara | Emma | Grace | Iris | Kate | Mary | Olive | Rosa | Tessa | Vera | Xenia | Zoe")
MEN = listed(
    "Bruno | David | Felix | Henry | Jonas | Luke | Noah | Peter | Quinn | Simon | Ulric | Walt | Yusuf"
)
NAMES = sorted(WOMEN + MEN)

SHE = {"he": "she", "him": "her", "his": "her"}
HE = {"he": "he", "him": "him", "his": "his"}

ONE = {"a": "a", "is": "is", "was": "was", "it": "it", "that": "that"}
MANY = {"a": "some", "is": "are", "was": "were", "it": "them", "that": "those"}

SINGLE_THINGS = listed(
    "apron | cloak | drum | easel | flute | hat | inkpot | jug | lamp | mirror | pipe | quilt | ring | "
    "trumpet | umbrella | violin | whistle | zither"
)
PLURAL_THINGS = listed("boots | gloves | keys | needles | oars | skates")


def things() -> Variable:
    """What is lost or given: one or many, with the forms that agree."""
    one = [{"thing": thing} | ONE for thing in SINGLE_THINGS]
    return Variable(one + [{"thing": thing} | MANY for thing in PLURAL_THINGS])


WORDS = {
    "quality": "new | red | blue | green | grey | silver | golden | little | lucky | painted | plain | "
    "pretty | shiny | sky-blue | purple | yellow | white | black | brown | heavy | tiny | "
    "costly | rusty | pink | dark | pale | huge | soft | neat | hard | fancy | handy | woollen "
    "| velvet | spotted | striped | folding | famous | secret | magic",
    "size": "long | big | short | stout | strong | small | thin | clean | wide | bent | broken | "
    "wooden | dusty | fine | tall | round | spare | tidy | wet | cheap | fat | smooth | sticky "
    "| light | sharp | square | stiff | loose | good | rough | flat | warm | narrow | deep | "
    "low | muddy | dented | faded | chipped | simple",
    "temper": "jolly | quiet | wise | gentle | merry | clever | sleepy | proud | brave | kind | shy | "
    "cross | lazy | busy | grumpy | bold | rude | hungry | noisy | polite | dizzy | young | "
    "tired | glad | sad | mild | fussy | lonely | vain | sly | meek | calm | tiny | silly | "
    "happy | moody | nosy | tough | keen | greedy",
    "worker": "baker | miller | cook | piper | sailor | tailor | weaver | farmer | potter | smith | "
    "barber | judge | doctor | clown | cobbler | painter | singer | dancer | fisher | poet | "
    "juggler | nun | monk | priest | hunter | diver | driver | grocer | thief | rider | guard "
    "| drummer | porter | scout | butler | maid | pilot | plumber | writer | sheriff",
    "beast": "fox | crow | goat | pig | duck | hare | mouse | cat | dog | frog | toad | lamb | pony | "
    "goose | badger | swan | bee | mole | rook | stork | bat | calf | rat | wolf | deer | dove "
    "| moth | crab | gull | seal | worm | wren | hawk | shrew | lynx | skunk | sheep | lark | "
    "wasp | finch",
    "tool": "rope | ladder | spade | net | bucket | candle | broom | rake | stick | sack | torch | "
    "bell | hook | map | hammer | barrow | whip | pail | saw | brush | nail | pillow | knife | "
    "fork | plank | drill | wheel | string | basket | chain | pen | tent | sponge | spoon | "
    "pump | whisk | ruler | lever | mop | sledge",
    "box": "box | pot | chest | bed | chair | table | jar | tub | cart | stove | bench | barrel | "
    "bowl | shelf | kettle | trunk | crate | desk | stool | vase | pan | basin | clock | piano "
    "| crib | bin | tank | rug | cage | tray | globe | sofa | boat | tin | couch | vat | mat | "
    "case | drawer | sink",
    "under": "under | behind | beside | near | by | on",
    "food": "pie | bread | cheese | soup | jam | honey | cake | fudge | pudding | toast | butter | "
    "fruit | corn | fish | rice | toffee | salad | stew | cream | milk | tea | pasta | beans | "
    "plums | peas | pears | nuts | figs | ham | leeks | grapes | syrup | buns | eggs | dates | "
    "beets | chips | gravy | bacon | melon",
    "taste": "hot | fresh | cold | sweet | warm | salty | sour | plain | rich | spicy | good | tasty | "
    "stale | dried | soft | fine | free | mild | cheap | sticky | lovely | green | frozen | "
    "minty | lumpy | famous | golden | runny | bitter | hearty | smoky | dainty",
    "gladly": "gladly | softly | slowly | loudly | wildly | boldly | neatly | sweetly | proudly | "
    "quietly | quickly | calmly | shyly | badly | bravely | merrily | gently | kindly | "
    "politely | happily | lazily | nicely | madly | oddly | briskly | smoothly | eagerly | "
    "grandly | busily | lightly | warmly | clumsily",
    "dance": "dance | sing | laugh | smile | jump | cheer | clap | whistle | hum | bow | skip | shout | "
    "yawn | giggle | sneeze | march | swim | nod | play | wave | talk | walk | run | hop | "
    "sigh | snore | wink | rest | spin | sway | grin | kneel",
    "when": "at noon | tonight | at dawn | today | at once | tomorrow | after tea | at dusk | soon | "
    "at six | now | by day | in May | at three | in June | at ten",
}
