"""Toyworld's story words: the children, their animal friends, toys and homes, and the story word lists.

The values of a story's scene, and the lists that only the stories use.
Refuses to know sentences: the templates live in toyworld_stories.
"""

from tinylm.text.toyworld.templates import Variable
from tinylm.text.toyworld.words import HE, MANY, MEN, ONE, SHE, WOMEN, WORDS, listed

HERO = Variable(
    [{"hero": name, "girl": "girl"} | SHE for name in WOMEN]
    + [{"hero": name, "girl": "boy"} | HE for name in MEN]
)

FRIENDS = (
    "Acorn | Button | Clover | Dumpling | Ember | Fern | Gizmo | Hazel | Jasper | Kipper | "
    "Lupin | Maple | Nutmeg | Pepper | Scamp | Tulip | Velvet | Waffle | Quill | Ziggy"
)
FRIEND = Variable([{"friend": friend} for friend in listed(FRIENDS)])

ANIMALS = (
    "rabbit | puppy | kitten | hedgehog | squirrel | donkey | parrot | tortoise | robin | "
    "beaver | monkey | panda | zebra | lion | camel | penguin | dragon | foal | gosling | "
    "walrus"
)
ANIMAL = Variable([{"animal": animal} for animal in listed(ANIMALS)])

TOYS = (
    "ball | kite | drum | doll | train | flute | lantern | puppet | scooter | trumpet | violin "
    "| wagon | robot | hoop | teddy | rattle"
)
MANY_TOYS = "marbles | skates | crayons | gloves | jewels | stilts | blocks | dominoes"
TOY = Variable(
    [{"toy": toy} | ONE for toy in listed(TOYS)] + [{"toy": toy} | MANY for toy in listed(MANY_TOYS)]
)

PLACES = (
    "by the lake | near the forest | beside the sea | behind the school | across the bridge | "
    "at the old mill | under the cliffs | near the harbour | on the farm | above the bakery | "
    "in the valley | at the lighthouse | next to the park | on the island | by the canal | in "
    "the village | up the hill | at the inn | down the lane | beyond the wall"
)
PLACE = Variable([{"place": place} for place in listed(PLACES)])

STORY_WORDS = WORDS | {
    "kind": "brave | kind | clever | quiet | cheerful | curious | gentle | merry | polite | playful | "
    "patient | lively | thoughtful | happy | friendly | shy | bold | sleepy | silly | careful "
    "| hopeful | noisy | smart | proud | small | tall | daring | jolly | dreamy | loyal | wise "
    "| helpful",
    "cosy": "small | tall | crooked | white | yellow | wooden | stone | quiet | red | sunny | narrow | "
    "noisy | tidy | merry | green | brick | round | warm | pink | grand | purple | leafy | "
    "dark | blue",
    "weather": "sunny | windy | rainy | snowy | foggy | cold | warm | bright | grey | stormy | frosty | "
    "cloudy | dry | mild | chilly | misty | hot | fine | wet | gloomy | golden | damp | fresh "
    "| dull",
    "time": "morning | day | afternoon | evening | Monday | Tuesday | Friday | Sunday",
    "spot": "market | station | pond | castle | library | beach | barn | zoo | river | museum | well | "
    "stable | theatre | shop | windmill | palace | circus | church | garage | cave | tower | "
    "camp | quarry | hotel",
    "odd": "strange | funny | long | short | loud | new | silly | splendid | terrible | wonderful | "
    "wild | secret | quiet | grand | sweet | rude",
    "sad": "sad | cross | worried | tired | lonely | upset | puzzled | sorry | angry | silly | "
    "grumpy | dizzy | gloomy | weak | shy | sleepy",
    "glad": "glad | proud | pleased | excited | thankful | joyful | cheerful | delighted | happy | "
    "lucky | warm | merry | content | hopeful | calm | grateful",
    "danced": "danced | sang | laughed | smiled | jumped | cheered | clapped | whistled | hummed | bowed "
    "| skipped | shouted | yawned | giggled | sneezed | nodded | waved | hopped | sighed | "
    "winked | spun | grinned | blushed | snored | coughed | swayed | squeaked | trembled | "
    "knelt | chuckled | squealed | stretched",
    "went": "ran | walked | hurried | skipped | hopped | marched | danced | raced | strolled | cycled "
    "| crept | rode | rushed | jogged | limped | swam | dashed | tiptoed | rolled | plodded | "
    "galloped | wandered | trotted | bounced",
    "softly": "softly | quietly | slowly | loudly | calmly | shyly | kindly | politely | gently | "
    "bravely | quickly | proudly | sweetly | boldly | wisely | sadly | firmly | warmly | "
    "nicely | clearly | gravely | sternly | brightly | sharply | grandly | eagerly | neatly | "
    "drily | hotly | coolly | lightly | dreamily",
    "coat": "coat | bonnet | scarf | crown | collar | cape | wig | bow | shawl | jacket | belt | veil "
    "| jersey | ribbon | cap | hood",
    "number": "two | three | four | five | six | seven | nine | ten",
}
