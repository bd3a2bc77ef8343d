"""The models of the demo zoo, as data: what each is, how a person would describe it, and what a person would type.

``query`` is a searcher's phrasing, never the description's own words in a row; it judges text search.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

TAGS = (
    "abstract", "animal", "avatar", "building", "clothes", "emoji", "face", "food", "geometric", "hand", "heart",
    "icon", "landscape", "line-art", "nature", "object", "pattern", "people", "pixel-art", "plant", "sky", "sport",
    "tool", "vehicle", "music",
)  # fmt: skip


@dataclass(frozen=True)
class Entry:
    """One model: its kind decides what ``options`` mean."""

    name: str
    kind: str
    description: str
    query: str
    tags: tuple[str, ...]
    options: dict[str, Any] = field(default_factory=dict)


def _procedural(style: str, description: str, query: str, *tags: str) -> Entry:
    return Entry(style, "procedural", description, query, tags, {"style": style})


def _sampler(name: str, style: str, concept: str, description: str, query: str, *tags: str, **options: str) -> Entry:
    return Entry(name, "sampler", description, query, tags, {"style": style, "concept": concept, **options})


def _decoder(kind: str, name: str, style: str, concept: str, description: str, query: str, *tags: str) -> Entry:
    return Entry(name, kind, description, query, tags, {"style": style, "concept": concept})


PROCEDURAL = (
    _procedural("adventurer", "Cartoon heads of young adventurers with wild hair, glasses and earrings.",
                "cartoon character head with big hair", "avatar", "face", "people"),
    _procedural("adventurer-neutral", "Square close-ups of expressive cartoon eyes and mouths on plain skin.",
                "close-up of an expressive cartoon face", "avatar", "face"),
    _procedural("big-ears", "Friendly flat portraits of people with remarkably big ears.",
                "people with large ears", "avatar", "face", "people"),
    _procedural("big-ears-neutral", "Eyes, noses and blushing cheeks filling a skin-coloured square.",
                "rosy cheeks and a nose on brown skin", "avatar", "face"),
    _procedural("big-smile", "Heads seen from the side with a huge white grin and colourful hair.",
                "a big smile with white teeth", "avatar", "face", "people"),
    _procedural("croodles", "Scribbled doodle heads, drawn with a thin pen as if during a boring meeting.",
                "doodle of a funny head", "avatar", "face", "line-art"),
    _procedural("croodles-neutral", "Only the scribbled features of a doodle face: glasses, moustaches, eyebrows.",
                "hand-drawn moustache and glasses", "face", "line-art"),
    _procedural("dylan", "Bold round heads with curly hair on loud blue, green and pink squares.",
                "curly blue hair on a green background", "avatar", "face", "people"),
    _procedural("fun-emoji", "Coloured squares with sunglasses, star eyes and kissing mouths, like chunky emoji.",
                "square emoji wearing sunglasses", "avatar", "emoji", "face"),
    _procedural("glass", "Soft colour clouds, as seen through frosted glass.",
                "blurry pastel colour cloud", "abstract", "pattern"),
    _procedural("icons", "Simple white line icons of everyday things on pastel tiles.",
                "white icon on a coloured tile", "icon", "line-art"),
    _procedural("identicon", "Symmetric five by five pixel blocks in one colour, as made for new accounts.",
                "symmetric coloured blocks", "geometric", "avatar", "pixel-art"),
    _procedural("lorelei", "Elegant black and white ink portraits of stylish people.",
                "stylish woman drawn in ink", "avatar", "face", "line-art", "people"),
    _procedural("lorelei-neutral", "A few ink strokes for eyes, nose and mouth on white, nothing else.",
                "minimal ink face with eyebrows", "face", "line-art"),
    _procedural("micah", "Illustrated busts with turbans, mohawks and dangling earrings, outlined in black.",
                "person wearing a turban", "avatar", "face", "people"),
    _procedural("miniavs", "Small flat men in profile with moustaches and colourful shirts.",
                "man with a moustache seen from the side", "avatar", "face", "people"),
    _procedural("notionists", "Black and white half-length drawings of office people, some waving.",
                "sketch of a person waving", "avatar", "line-art", "people"),
    _procedural("notionists-neutral", "Sparse pen faces with raised eyebrows and crooked noses.",
                "pen drawing of a crooked nose", "face", "line-art"),
    _procedural("open-peeps", "Hand-drawn heads with bold black outlines and every kind of haircut.",
                "afro hairstyle drawing", "avatar", "face", "people"),
    _procedural("personas", "Flat bust portraits with pink, green or red hair and big beards.",
                "bearded man with pink hair", "avatar", "face", "people"),
    _procedural("pixel-art", "Tiny eight-bit portraits made of square pixels.",
                "8-bit pixel portrait", "avatar", "face", "pixel-art"),
    _procedural("pixel-art-neutral", "Pixelated eyes and lips on flat skin, as from an old video game.",
                "pixelated eyes and red lips", "face", "pixel-art"),
    _procedural("rings", "Broken concentric rings in one bright colour.",
                "concentric circles", "abstract", "geometric"),
    _procedural("shapes", "Overlapping triangles, circles and squares in blue and orange.",
                "triangle and circle composition", "abstract", "geometric"),
    _procedural("thumbs", "Thumb-shaped creatures with sleepy little smiles.",
                "thumb with a smiley", "avatar", "face"),
    _procedural("toon-head", "Cartoon busts of girls and boys in plain sweaters.",
                "cartoon girl with long hair", "avatar", "face", "people"),
    _procedural("boring-bauhaus", "Bauhaus posters: a circle, a bar and a line in a small palette.",
                "circle and bar like modernist art", "abstract", "geometric"),
    _procedural("boring-beam", "Tilted rounded squares that smile.",
                "tilted smiling blob", "avatar", "face"),
    _procedural("boring-marble", "Swirls of saturated colour like marbled paper.",
                "marbled paint swirl", "abstract", "pattern"),
    _procedural("geopattern", "Tone-on-tone wallpaper: plaids, chevrons, hexagons and waves.",
                "geometric wallpaper pattern", "geometric", "pattern"),
    _procedural("jdenticon", "Rotated diamonds and triangles arranged in fourfold symmetry.",
                "rotational symmetry of diamonds", "geometric", "avatar"),
    _procedural("minidenticons", "Sparse symmetric pixel invaders in a pure colour on white.",
                "space invader pixels", "geometric", "pixel-art"),
)  # fmt: skip

SAMPLERS = (
    _sampler("fluent-birds", "fluent", "birds",
             "Shiny three-dimensional birds, one at a time, on any ground.",
             "a glossy bird", "animal", "nature"),
    _sampler("noto-birds", "noto", "birds", "Flat cartoon birds, from penguins to parrots, in a pair.",
             "two birds next to each other", "animal", "nature", layout="pair", palette="meadow"),
    _sampler("twemoji-cats", "twemoji", "cat-faces", "Yellow cat faces laughing, crying and in love.",
             "laughing yellow cat", "animal", "face", "emoji", palette="pastel"),
    _sampler("fluent-dogs", "fluent", "dogs", "Soft three-dimensional dogs, wolves and foxes.",
             "a cute puppy", "animal", palette="earth"),
    _sampler("noto-sea-animals", "noto", "sea-animals",
             "Fish, whales, crabs and octopuses scattered over blue water.",
             "tropical fish in the ocean", "animal", "nature", layout="scatter", palette="sea", backdrop="gradient"),
    _sampler("fluent-sea-animals", "fluent", "sea-animals", "A single glossy sea creature on white.",
             "shiny octopus", "animal", "nature", palette="white"),
    _sampler("twemoji-insects", "twemoji", "insects",
             "Beetles, bees and butterflies crawling over meadow greens.",
             "bugs in the grass", "animal", "nature", layout="scatter", palette="meadow"),
    _sampler("noto-animal-faces", "noto", "animal-faces", "Animal heads looking straight at you, very close.",
             "close-up of an animal's head", "animal", "face", layout="closeup"),
    _sampler("twemoji-animal-faces", "twemoji", "animal-faces", "Flat round animal faces on polka dots.",
             "animal face on polka dots", "animal", "face", backdrop="dots", palette="pastel"),
    _sampler("fluent-fruit", "fluent", "fruit", "Ripe fruit piled into a heap.",
             "a pile of fruits", "food", "nature", layout="stack", palette="paper"),
    _sampler("twemoji-fruit", "twemoji", "fruit", "A wallpaper of flat fruit, two kinds at a time.",
             "fruit pattern", "food", "pattern", layout="wallpaper", palette="pastel"),
    _sampler("noto-vegetables", "noto", "vegetables", "Fresh vegetables laid out on a wooden brown.",
             "carrots and broccoli", "food", "plant", layout="scatter", palette="earth"),
    _sampler("fluent-desserts", "fluent", "desserts",
             "Cakes, ice cream and doughnuts, each on a candy-coloured badge.",
             "slice of cake", "food", backdrop="disc", palette="candy"),
    _sampler("emojitwo-drinks", "emojitwo", "drinks", "Cocktails, beer mugs and cups of tea.",
             "a glass of beer", "food", "object", palette="sunset"),
    _sampler("noto-flowers", "noto", "flowers", "Blossoms in every colour scattered over a meadow.",
             "a meadow full of flowers", "plant", "nature", layout="scatter", palette="meadow"),
    _sampler("fluent-flat-trees", "fluent-flat", "trees",
             "Firs, palms and cacti standing in a row under the sky.",
             "palm trees on the horizon", "plant", "landscape", layout="row", backdrop="horizon", palette="sea"),
    _sampler("twemoji-cars", "twemoji", "cars", "Cars, buses and trucks parked on grey asphalt.",
             "cars on a road", "vehicle", layout="row", backdrop="horizon", palette="asphalt"),
    _sampler("fxemoji-houses", "fxemoji", "houses",
             "Houses, castles and offices by an old-fashioned web artist.",
             "a small house", "building", backdrop="horizon", palette="sea"),
    _sampler("fluent-weather", "fluent", "weather", "Glossy suns, clouds and rainbows in a gradient sky.",
             "sun behind clouds", "sky", "nature", backdrop="gradient", palette="sea"),
    _sampler("noto-moons", "noto", "moons", "The phases of the moon against the night.",
             "moon at night", "sky", layout="pair", palette="night"),
    _sampler("fluent-clocks", "fluent", "clocks",
             "Round wall clocks on dark slate, one for every half hour of the day.",
             "what time is it", "object", palette="slate"),
    _sampler("noto-smileys", "noto", "smileys", "Round yellow smileys in every mood, from halo to horns.",
             "yellow emoji with feelings", "emoji", "face"),
    _sampler("fluent-hearts", "fluent", "hearts", "Hearts repeated like gift wrap.",
             "love hearts wrapping paper", "heart", "pattern", layout="wallpaper", palette="pastel"),
    _sampler("twemoji-hands", "twemoji", "hands", "Hand gestures in light, medium and dark skin.",
             "thumbs up gesture", "hand", "people", palette="pastel"),
    _sampler("noto-workers", "noto", "workers", "Portraits of people at their jobs: cooks, pilots, doctors.",
             "a doctor or a cook", "people", "avatar", layout="portrait"),
    _sampler("fluent-sports", "fluent", "sports", "Balls, rackets, skates and sledges on striped grounds.",
             "sports equipment", "sport", "object", backdrop="stripes", palette="meadow"),
    _sampler("twemoji-instruments", "twemoji", "instruments", "Guitars, trumpets and drums on a warm stage.",
             "musical instrument", "music", "object", palette="sunset", backdrop="gradient"),
    _sampler("noto-tools", "noto", "tools", "Hammers, saws and wrenches thrown into a heap.",
             "hammer and wrench", "tool", "object", layout="stack", palette="asphalt"),
    _sampler("fluent-flat-clothes", "fluent-flat", "clothes", "Shirts, shoes and hats, neatly laid out.",
             "shoes and dresses", "clothes", "object", layout="scatter", palette="paper"),
    # Twins: the concept, layout and palette of a model above in another artist's hand. Only the style tells them apart.
    _sampler("twemoji-birds", "twemoji", "birds",
             "Birds cut from flat paper, one to a picture, on any colour.",
             "flat bird illustration", "animal", "nature"),
    _sampler("fluent-cats", "fluent", "cat-faces",
             "Plump ginger cat heads with soft shading and strong feelings.",
             "plump 3d cat head", "animal", "face", "emoji", palette="pastel"),
    _sampler("fluent-animal-faces", "fluent", "animal-faces",
             "Toy-like animal heads with soft shadows on polka dots.",
             "toy animal with soft shading", "animal", "face", backdrop="dots", palette="pastel"),
    _sampler("noto-fruit", "noto", "fruit",
             "A market stall's fruit tumbled together, in bright cartoon colours.",
             "cartoon fruits tumbled together", "food", "nature", layout="stack", palette="paper"),
    _sampler("fluent-cars", "fluent", "cars", "Rounded toy cars and vans queueing on a grey road.",
             "toy cars queueing", "vehicle", layout="row", backdrop="horizon", palette="asphalt"),
    _sampler("emojitwo-smileys", "emojitwo", "smileys",
             "Golden smileys by a community of volunteers, laughing or sick.",
             "sick golden smiley", "emoji", "face"),
    _sampler("noto-hands", "noto", "hands", "Cartoon hands of every skin colour that wave, point and clap.",
             "waving cartoon hand", "hand", "people", palette="pastel"),
)  # fmt: skip

DECODERS = (
    _decoder("pca", "pca-noto-smileys", "noto", "smileys",
             "Ghostly averages of yellow smileys, one blending into the next.",
             "blurry yellow face", "emoji", "face"),
    _decoder("pca", "pca-twemoji-clocks", "twemoji", "clocks",
             "Clock dials whose hands fade through each other.",
             "fuzzy clock dial", "object"),
    _decoder("pca", "pca-fluent-cats", "fluent", "cat-faces", "Morphing cat heads, soft as a memory.",
             "morphing cat face", "animal", "face"),
    _decoder("pca", "pca-twemoji-fruit", "twemoji", "fruit", "Fruit-coloured blobs between apple and melon.",
             "round fruit blob", "food"),
    _decoder("pca", "pca-noto-hearts", "noto", "hearts",
             "Hearts whose colours run into one another like wet ink.",
             "a blurred heart", "heart"),
    _decoder("pca", "pca-noto-animal-faces", "noto", "animal-faces",
             "Animal heads dissolving into one another.",
             "hybrid animal face", "animal", "face"),
    _decoder("pca", "pca-fluent-houses", "fluent", "houses", "Hazy buildings, half castle and half office.",
             "blurred castle", "building"),
    _decoder("pca", "pca-twemoji-flowers", "twemoji", "flowers", "Blossoms seen without one's glasses.",
             "flower out of focus", "plant", "nature"),
    _decoder("vae", "vae-twemoji-cars", "twemoji", "cars",
             "Cars and lorries that were never built, their edges still wet.",
             "a smudged truck", "vehicle"),
    _decoder("vae", "vae-noto-birds", "noto", "birds",
             "Birds half remembered: an owl's eyes, a parrot's wing, feathers that do not end.",
             "dreamy bird", "animal", "nature"),
    _decoder("vae", "vae-fluent-fruit", "fluent", "fruit",
             "Glossy fruit of no known species, as if an orange had once been a grape.",
             "invented fruit", "food"),
    _decoder("vae", "vae-twemoji-smileys", "twemoji", "smileys",
             "Yellow faces between two feelings, smeared while they change their mind.",
             "strange smiley", "emoji", "face"),
)  # fmt: skip

CATALOGUE = (*PROCEDURAL, *SAMPLERS, *DECODERS)
