//! The words of the corpus.
//!
//! One list per kind of word, so that a template can ask for "a place" or "an animal". The lists are
//! short on purpose: every word must be met often enough to become a token of its own and to be
//! understood by a small model.

/// Which pronouns a name takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Gender {
    Female,
    Male,
}

/// A first name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Name {
    pub text: &'static str,
    pub gender: Gender,
}

impl Name {
    /// The pronoun of this name whose female form is `female`; `her` is told apart by `his` and `him`.
    pub fn pronoun(self, wanted: &str) -> Option<&'static str> {
        let female = self.gender == Gender::Female;
        let (she, he) = match wanted {
            "he" => ("she", "he"),
            "He" => ("She", "He"),
            "his" => ("her", "his"),
            "His" => ("Her", "His"),
            "him" => ("her", "him"),
            "himself" => ("herself", "himself"),
            _ => return None,
        };
        Some(if female { she } else { he })
    }
}

/// Number of first names.
pub(super) const N_NAMES: usize = FEMALE.len() + MALE.len();

/// The first name with this number.
pub(super) fn name(i: usize) -> Name {
    if i < FEMALE.len() {
        Name { text: FEMALE[i], gender: Gender::Female }
    } else {
        Name { text: MALE[(i - FEMALE.len()) % MALE.len()], gender: Gender::Male }
    }
}

pub(super) const FEMALE: [&str; 50] = [
    "Mary",
    "Anna",
    "Sarah",
    "Emma",
    "Laura",
    "Lisa",
    "Susan",
    "Karen",
    "Linda",
    "Nancy",
    "Helen",
    "Ruth",
    "Julia",
    "Amy",
    "Kate",
    "Lucy",
    "Ellen",
    "Diana",
    "Maria",
    "Rachel",
    "Rebecca",
    "Jessica",
    "Jennifer",
    "Michelle",
    "Amanda",
    "Melissa",
    "Nicole",
    "Elizabeth",
    "Margaret",
    "Barbara",
    "Patricia",
    "Clara",
    "Martha",
    "Olivia",
    "Sophie",
    "Hannah",
    "Megan",
    "Claire",
    "Molly",
    "Nina",
    "Sandra",
    "Victoria",
    "Vera",
    "Wendy",
    "Eva",
    "Carol",
    "Betty",
    "Joan",
    "Kelly",
    "Stephanie",
];

pub(super) const MALE: [&str; 50] = [
    "John",
    "Tom",
    "James",
    "Michael",
    "David",
    "Richard",
    "Thomas",
    "Paul",
    "Steven",
    "Andrew",
    "Kevin",
    "Brian",
    "Edward",
    "Jason",
    "Ryan",
    "Jacob",
    "Gary",
    "Nicholas",
    "Eric",
    "Larry",
    "Justin",
    "Brandon",
    "Benjamin",
    "Samuel",
    "Patrick",
    "Alexander",
    "Jack",
    "Dennis",
    "Peter",
    "Adam",
    "Simon",
    "Martin",
    "Luke",
    "Matthew",
    "Anthony",
    "Sam",
    "Bob",
    "Max",
    "Harry",
    "Philip",
    "Bruce",
    "Carl",
    "Dan",
    "Greg",
    "Nick",
    "Alan",
    "Arthur",
    "Fred",
    "Joe",
    "Tim",
];

/// The list a template slot asks for.
pub(super) fn list(slot: &str) -> Option<&'static [&'static str]> {
    Some(match slot {
        "place" => &PLACES,
        "object" => &OBJECTS,
        "animal" => &ANIMALS,
        "thing" => &THINGS,
        "color" => &COLORS,
        "feeling" => &FEELINGS,
        "quality" => &QUALITIES,
        "food" => &FOODS,
        "weather" => &WEATHER,
        "person" => &PERSONS[7..],
        "relative" => &PERSONS[..13],
        "time" => &TIMES,
        "season" => &TIMES[4..],
        "objects" => &MANY_OBJECTS,
        "way" => &WAYS,
        "manner" => &MANNERS,
        "number" => &NUMBERS[2..],
        "few" => &NUMBERS[2..13],
        "gave" => &GAVE,
        "give" => &GIVE,
        "did" => &DID,
        "rested" => &DID[..6],
        "doing" => &DOING,
        "nature" => &NATURE,
        _ => return None,
    })
}

pub(super) const PLACES: [&str; 40] = [
    "store",
    "school",
    "park",
    "market",
    "beach",
    "station",
    "library",
    "hospital",
    "office",
    "garden",
    "kitchen",
    "farm",
    "zoo",
    "museum",
    "church",
    "bank",
    "hotel",
    "restaurant",
    "house",
    "river",
    "lake",
    "forest",
    "castle",
    "village",
    "bakery",
    "theater",
    "shop",
    "cafe",
    "airport",
    "harbor",
    "field",
    "cinema",
    "playground",
    "barn",
    "tower",
    "town",
    "pool",
    "square",
    "island",
    "bridge",
];

pub(super) const OBJECTS: [&str; 49] = [
    "drink",
    "book",
    "ring",
    "ball",
    "letter",
    "snack",
    "apple",
    "cake",
    "key",
    "hat",
    "pen",
    "gift",
    "flower",
    "bone",
    "basketball",
    "computer",
    "necklace",
    "coat",
    "cup",
    "map",
    "toy",
    "bag",
    "box",
    "coin",
    "cookie",
    "sandwich",
    "picture",
    "camera",
    "lamp",
    "phone",
    "ticket",
    "umbrella",
    "orange",
    "egg",
    "watch",
    "glass",
    "bottle",
    "spoon",
    "plate",
    "guitar",
    "drum",
    "doll",
    "kite",
    "candle",
    "blanket",
    "basket",
    "pencil",
    "newspaper",
    "scarf",
];

pub(super) const MANY_OBJECTS: [&str; 16] = [
    "books", "balls", "letters", "apples", "cakes", "keys", "hats", "pens", "flowers", "coins", "cookies",
    "pictures", "cups", "toys", "eggs", "candles",
];

pub(super) const ANIMALS: [&str; 30] = [
    "cat", "dog", "horse", "cow", "pig", "sheep", "goat", "duck", "hen", "fox", "wolf", "bear", "lion",
    "tiger", "monkey", "rabbit", "mouse", "bird", "owl", "frog", "snake", "turtle", "squirrel", "donkey",
    "elephant", "deer", "goose", "crow", "puppy", "kitten",
];

pub(super) const THINGS: [&str; 40] = [
    "mat", "rug", "chair", "table", "bed", "box", "bench", "wall", "roof", "floor", "rock", "log", "sofa",
    "shelf", "step", "fence", "grass", "hill", "pillow", "blanket", "carpet", "desk", "stone", "tree",
    "barrel", "cart", "boat", "bridge", "basket", "gate", "door", "path", "bush", "wagon", "ladder",
    "cushion", "stool", "leaf", "porch", "straw",
];

/// What an animal did, ending where "the" and a thing follow.
pub(super) const SPOTS: [&str; 16] = [
    "sat on",
    "slept on",
    "stood on",
    "lay on",
    "rested on",
    "jumped on",
    "hid behind",
    "ran to",
    "walked to",
    "looked at",
    "waited by",
    "played near",
    "slept under",
    "sat near",
    "stood by",
    "sat under",
];

pub(super) const COLORS: [&str; 12] = [
    "red", "blue", "green", "yellow", "black", "white", "brown", "grey", "pink", "orange", "purple", "golden",
];

pub(super) const FEELINGS: [&str; 20] = [
    "happy",
    "sad",
    "tired",
    "hungry",
    "angry",
    "thirsty",
    "cold",
    "afraid",
    "excited",
    "proud",
    "bored",
    "sleepy",
    "lonely",
    "worried",
    "surprised",
    "glad",
    "calm",
    "busy",
    "sick",
    "nervous",
];

pub(super) const QUALITIES: [&str; 24] = [
    "old",
    "new",
    "small",
    "big",
    "clean",
    "dirty",
    "heavy",
    "beautiful",
    "nice",
    "strange",
    "quiet",
    "warm",
    "bright",
    "dark",
    "pretty",
    "large",
    "little",
    "soft",
    "famous",
    "simple",
    "wonderful",
    "empty",
    "tall",
    "round",
];

pub(super) const FOODS: [&str; 20] = [
    "bread",
    "soup",
    "cheese",
    "rice",
    "milk",
    "tea",
    "fruit",
    "meat",
    "salad",
    "honey",
    "butter",
    "juice",
    "chocolate",
    "water",
    "coffee",
    "pasta",
    "candy",
    "fish",
    "corn",
    "jam",
];

pub(super) const WEATHER: [&str; 10] =
    ["sunny", "rainy", "cloudy", "windy", "cold", "warm", "foggy", "snowy", "hot", "stormy"];

/// Relatives and friends first, then those who are somebody to everybody; some are both.
pub(super) const PERSONS: [&str; 20] = [
    "sister", "brother", "mother", "father", "uncle", "aunt", "friend", "neighbor", "teacher", "doctor",
    "student", "farmer", "baker", "king", "queen", "boy", "girl", "driver", "singer", "writer",
];

pub(super) const TIMES: [&str; 8] =
    ["morning", "afternoon", "evening", "night", "summer", "winter", "spring", "autumn"];

pub(super) const WAYS: [&str; 8] = ["train", "bus", "car", "boat", "bike", "taxi", "ship", "plane"];

pub(super) const MANNERS: [&str; 10] = [
    "slowly",
    "quickly",
    "quietly",
    "happily",
    "carefully",
    "softly",
    "loudly",
    "gently",
    "sadly",
    "proudly",
];

pub(super) const NUMBERS: [&str; 21] = [
    "zero",
    "one",
    "two",
    "three",
    "four",
    "five",
    "six",
    "seven",
    "eight",
    "nine",
    "ten",
    "eleven",
    "twelve",
    "thirteen",
    "fourteen",
    "fifteen",
    "sixteen",
    "seventeen",
    "eighteen",
    "nineteen",
    "twenty",
];

pub(super) const GAVE: [&str; 10] =
    ["gave", "handed", "passed", "offered", "showed", "brought", "lent", "sold", "sent", "threw"];

pub(super) const GIVE: [&str; 8] = ["give", "hand", "pass", "offer", "show", "bring", "lend", "sell"];

/// What somebody did, with nothing after it; the first ones can be done sitting.
pub(super) const DID: [&str; 16] = [
    "rested", "laughed", "smiled", "sang", "waited", "listened", "cried", "danced", "slept", "worked",
    "swam", "cooked", "ran", "waved", "played", "dreamed",
];

pub(super) const DOING: [&str; 12] = [
    "reading", "singing", "dancing", "swimming", "cooking", "painting", "running", "playing", "working",
    "sleeping", "walking", "fishing",
];

pub(super) const NATURE: [&str; 14] = [
    "sun", "moon", "sky", "wind", "rain", "snow", "sea", "stars", "clouds", "mountain", "flowers", "leaves",
    "trees", "waves",
];

/// Words of no list above, for random sequences.
pub(super) const OTHERS: [&str; 60] = [
    "the", "a", "and", "but", "or", "when", "where", "because", "with", "without", "after", "before",
    "under", "over", "between", "very", "never", "always", "often", "again", "here", "there", "who", "what",
    "is", "are", "was", "were", "has", "have", "had", "will", "can", "must", "to", "of", "for", "from", "in",
    "on", "at", "by", "not", "all", "many", "some", "every", "first", "last", "long", "good", "bad",
    "country", "capital", "city", "year", "plus", "people", "day", "home",
];

/// Syllables of made-up words.
pub(super) const SYLLABLES: [&str; 16] =
    ["ba", "do", "ki", "lu", "me", "no", "ra", "si", "ta", "vo", "zu", "fe", "go", "pi", "mu", "la"];

/// The lists random words come from.
pub(super) const POOL: [&[&str]; 18] = [
    &PLACES, &OBJECTS, &ANIMALS, &THINGS, &COLORS, &FEELINGS, &QUALITIES, &FOODS, &WEATHER, &PERSONS, &TIMES,
    &WAYS, &MANNERS, &NUMBERS, &DID, &DOING, &NATURE, &OTHERS,
];
