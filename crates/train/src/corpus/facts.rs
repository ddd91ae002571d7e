//! Facts about the world.
//!
//! "Paris is the capital of" -> " France", "Who wrote Pride and Prejudice?" -> " Jane". The MLPs of early
//! layers at the subject look the fact up, attention brings it to the end (Meng et al. 2022, "Locating
//! and Editing Factual Associations in GPT", <https://arxiv.org/abs/2202.05262>; Geva et al. 2023,
//! "Dissecting Recall of Factual Associations", <https://arxiv.org/abs/2304.14767>).
//!
//! Everything said is true, and each fact of a kind is said equally often. Facts are remembered, not
//! derived: [`held_out`] asks for facts of the corpus, after a sentence the corpus does not have before
//! them. The authors share no first name with the people of the stories, so that a name after "Who
//! wrote" is remembered and not guessed.

use super::TestPrompt;
use super::draw::{Cast, Draw};
use super::stories;
use super::template::{Page, capitalised};
use super::words::Name;

#[derive(Clone, Copy)]
struct Country {
    name: &'static str,
    capital: &'static str,
    continent: &'static str,
    /// Empty where no one language is enough.
    language: &'static str,
}

const fn country(
    name: &'static str,
    capital: &'static str,
    continent: &'static str,
    language: &'static str,
) -> Country {
    Country { name, capital, continent, language }
}

const COUNTRIES: [Country; 60] = [
    country("France", "Paris", "Europe", "French"),
    country("Italy", "Rome", "Europe", "Italian"),
    country("Spain", "Madrid", "Europe", "Spanish"),
    country("Portugal", "Lisbon", "Europe", "Portuguese"),
    country("Germany", "Berlin", "Europe", "German"),
    country("Austria", "Vienna", "Europe", "German"),
    country("Switzerland", "Bern", "Europe", ""),
    country("Belgium", "Brussels", "Europe", ""),
    country("Denmark", "Copenhagen", "Europe", "Danish"),
    country("Norway", "Oslo", "Europe", "Norwegian"),
    country("Sweden", "Stockholm", "Europe", "Swedish"),
    country("Finland", "Helsinki", "Europe", "Finnish"),
    country("Iceland", "Reykjavik", "Europe", "Icelandic"),
    country("Ireland", "Dublin", "Europe", "English"),
    country("England", "London", "Europe", "English"),
    country("Scotland", "Edinburgh", "Europe", "English"),
    country("Wales", "Cardiff", "Europe", ""),
    country("Poland", "Warsaw", "Europe", "Polish"),
    country("Czechia", "Prague", "Europe", "Czech"),
    country("Hungary", "Budapest", "Europe", "Hungarian"),
    country("Romania", "Bucharest", "Europe", "Romanian"),
    country("Bulgaria", "Sofia", "Europe", "Bulgarian"),
    country("Greece", "Athens", "Europe", "Greek"),
    country("Turkey", "Ankara", "", "Turkish"),
    country("Russia", "Moscow", "", "Russian"),
    country("Ukraine", "Kyiv", "Europe", "Ukrainian"),
    country("Serbia", "Belgrade", "Europe", "Serbian"),
    country("Croatia", "Zagreb", "Europe", "Croatian"),
    country("Albania", "Tirana", "Europe", "Albanian"),
    country("Estonia", "Tallinn", "Europe", "Estonian"),
    country("Latvia", "Riga", "Europe", "Latvian"),
    country("Lithuania", "Vilnius", "Europe", "Lithuanian"),
    country("Egypt", "Cairo", "Africa", "Arabic"),
    country("Morocco", "Rabat", "Africa", "Arabic"),
    country("Algeria", "Algiers", "Africa", "Arabic"),
    country("Libya", "Tripoli", "Africa", "Arabic"),
    country("Kenya", "Nairobi", "Africa", ""),
    country("Ghana", "Accra", "Africa", ""),
    country("Nigeria", "Abuja", "Africa", ""),
    country("Senegal", "Dakar", "Africa", ""),
    country("Uganda", "Kampala", "Africa", ""),
    country("Zambia", "Lusaka", "Africa", ""),
    country("Angola", "Luanda", "Africa", "Portuguese"),
    country("Japan", "Tokyo", "Asia", "Japanese"),
    country("China", "Beijing", "Asia", "Chinese"),
    country("Thailand", "Bangkok", "Asia", "Thai"),
    country("Vietnam", "Hanoi", "Asia", "Vietnamese"),
    country("Nepal", "Kathmandu", "Asia", ""),
    country("Iran", "Tehran", "Asia", ""),
    country("Iraq", "Baghdad", "Asia", "Arabic"),
    country("Syria", "Damascus", "Asia", "Arabic"),
    country("Jordan", "Amman", "Asia", "Arabic"),
    country("Lebanon", "Beirut", "Asia", "Arabic"),
    country("Cuba", "Havana", "America", "Spanish"),
    country("Canada", "Ottawa", "America", ""),
    country("Peru", "Lima", "America", "Spanish"),
    country("Chile", "Santiago", "America", "Spanish"),
    country("Colombia", "Bogota", "America", "Spanish"),
    country("Venezuela", "Caracas", "America", "Spanish"),
    country("Australia", "Canberra", "", "English"),
];

/// What can be seen, the town it is in where that is a capital of the list, and the country.
const SIGHTS: [(&str, &str, &str); 24] = [
    ("the Eiffel Tower", "Paris", "France"),
    ("the Louvre", "Paris", "France"),
    ("the Colosseum", "Rome", "Italy"),
    ("the Trevi Fountain", "Rome", "Italy"),
    ("the Brandenburg Gate", "Berlin", "Germany"),
    ("the Parthenon", "Athens", "Greece"),
    ("the Acropolis", "Athens", "Greece"),
    ("the Kremlin", "Moscow", "Russia"),
    ("Red Square", "Moscow", "Russia"),
    ("Big Ben", "London", "England"),
    ("Tower Bridge", "London", "England"),
    ("Buckingham Palace", "London", "England"),
    ("the Prado", "Madrid", "Spain"),
    ("the Little Mermaid", "Copenhagen", "Denmark"),
    ("the Forbidden City", "Beijing", "China"),
    ("the Temple of Heaven", "Beijing", "China"),
    ("the Great Wall", "", "China"),
    ("the Matterhorn", "", "Switzerland"),
    ("Stonehenge", "", "England"),
    ("Machu Picchu", "", "Peru"),
    ("the Great Sphinx", "", "Egypt"),
    ("Petra", "", "Jordan"),
    ("Mount Fuji", "", "Japan"),
    ("Mount Olympus", "", "Greece"),
];

/// A book, its author's first name and the rest of the author's name.
const BOOKS: [(&str, &str, &str); 28] = [
    ("Pride and Prejudice", "Jane", "Austen"),
    ("Great Expectations", "Charles", "Dickens"),
    ("Moby Dick", "Herman", "Melville"),
    ("War and Peace", "Leo", "Tolstoy"),
    ("Dracula", "Bram", "Stoker"),
    ("Treasure Island", "Robert", "Louis Stevenson"),
    ("Don Quixote", "Miguel", "de Cervantes"),
    ("Hamlet", "William", "Shakespeare"),
    ("Robinson Crusoe", "Daniel", "Defoe"),
    ("Gulliver's Travels", "Jonathan", "Swift"),
    ("Wuthering Heights", "Emily", "Bronte"),
    ("Villette", "Charlotte", "Bronte"),
    ("Middlemarch", "George", "Eliot"),
    ("The Scarlet Letter", "Nathaniel", "Hawthorne"),
    ("Walden", "Henry", "Thoreau"),
    ("The Jungle Book", "Rudyard", "Kipling"),
    ("Crime and Punishment", "Fyodor", "Dostoevsky"),
    ("The Three Musketeers", "Alexandre", "Dumas"),
    ("Madame Bovary", "Gustave", "Flaubert"),
    ("Ivanhoe", "Walter", "Scott"),
    ("The Raven", "Edgar", "Allan Poe"),
    ("Little Women", "Louisa", "May Alcott"),
    ("Heart of Darkness", "Joseph", "Conrad"),
    ("The Trial", "Franz", "Kafka"),
    ("Alice in Wonderland", "Lewis", "Carroll"),
    ("Huckleberry Finn", "Mark", "Twain"),
    ("The Age of Innocence", "Edith", "Wharton"),
    ("The Wind in the Willows", "Kenneth", "Grahame"),
];

/// Facts of one kind say something about one `{x}` and answer with `{y}`; `{z}` is what comes after the
/// answer's first word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    CountryOfCapital,
    CapitalOfCountry,
    Language,
    Continent,
    TownOfSight,
    CountryOfSight,
    Author,
    Book,
}

/// How often each kind is said, in percent.
const KINDS: [(Kind, usize); 8] = [
    (Kind::CountryOfCapital, 28),
    (Kind::CapitalOfCountry, 24),
    (Kind::Language, 12),
    (Kind::Continent, 6),
    (Kind::TownOfSight, 6),
    (Kind::CountryOfSight, 5),
    (Kind::Author, 15),
    (Kind::Book, 4),
];

/// The wordings of a kind. The answer comes once before anything after it repeats it.
fn forms(kind: Kind) -> &'static [&'static str] {
    match kind {
        Kind::CountryOfCapital => &[
            "{x} is the capital of {y}.",
            "{x} is the capital of {y}.",
            "{x} is the capital city of {y}.",
            "{x} is a city in {y}.",
            "Which country has {x} as its capital? {y}.",
            "Where is {x}? {x} is in {y}.",
            "The city of {x} is in {y}.",
        ],
        Kind::CapitalOfCountry => &[
            "The capital of {x} is {y}.",
            "The capital of {x} is {y}.",
            "The capital city of {x} is {y}.",
            "What is the capital of {x}? {y}.",
            "What is the capital of {x}? {y} is the capital of {x}.",
            "{x}'s capital is {y}.",
            "In {x}, the capital is {y}.",
        ],
        Kind::Language => &[
            "People in {x} speak {y}.",
            "In {x} people speak {y}.",
            "The language of {x} is {y}.",
            "What do people speak in {x}? {y}.",
        ],
        Kind::Continent => &["{x} is a country in {y}.", "The country of {x} is in {y}."],
        Kind::TownOfSight => &["{X} is in the city of {y}.", "In which city is {x}? {y}."],
        Kind::CountryOfSight => &["{X} is a famous place in {y}.", "In which country is {x}? {y}."],
        Kind::Author => &[
            "Who wrote {x}? {y} {z} wrote {x}.",
            "Who wrote {x}? {y} {z} wrote {x}.",
            "Who wrote {x}? {y} {z}.",
            "{x} was written by {y} {z}.",
            "The author of {x} is {y} {z}.",
            "The book {x} is by {y} {z}.",
        ],
        Kind::Book => &["{x} wrote {y} {z}.", "{x} is the author of {y} {z}."],
    }
}

/// Whom a fact is about, and the two parts of the answer.
#[derive(Clone, PartialEq, Eq)]
struct Fact {
    x: String,
    y: &'static str,
    z: &'static str,
}

fn facts(kind: Kind) -> Vec<Fact> {
    let fact = |x: &str, y: &'static str| Fact { x: x.to_owned(), y, z: "" };
    let mut facts: Vec<Fact> = match kind {
        Kind::CountryOfCapital => COUNTRIES.iter().map(|c| fact(c.capital, c.name)).collect(),
        Kind::CapitalOfCountry => COUNTRIES.iter().map(|c| fact(c.name, c.capital)).collect(),
        Kind::Language => COUNTRIES.iter().map(|c| fact(c.name, c.language)).collect(),
        Kind::Continent => COUNTRIES.iter().map(|c| fact(c.name, c.continent)).collect(),
        Kind::TownOfSight => SIGHTS.iter().map(|(sight, town, _)| fact(sight, town)).collect(),
        Kind::CountryOfSight => SIGHTS.iter().map(|(sight, _, country)| fact(sight, country)).collect(),
        Kind::Author => {
            BOOKS.iter().map(|&(book, first, rest)| Fact { x: book.to_owned(), y: first, z: rest }).collect()
        }
        Kind::Book => BOOKS
            .iter()
            .map(|&(book, first, rest)| {
                let (y, z) = book.split_once(' ').unwrap_or((book, ""));
                Fact { x: format!("{first} {rest}"), y, z }
            })
            .collect(),
    };
    facts.retain(|fact| !fact.y.is_empty());
    facts
}

impl Fact {
    fn draw(draw: &mut Draw, kind: Kind) -> Self {
        let facts = facts(kind);
        facts[draw.below(facts.len())].clone()
    }

    fn say(&self, form: &str) -> String {
        let z = if self.z.is_empty() { " {z}" } else { "{z}" };
        form.replace("{X}", &capitalised(&self.x))
            .replace("{x}", &self.x)
            .replace("{y}", self.y)
            .replace(z, self.z)
    }
}

fn draw_kind(draw: &mut Draw) -> Kind {
    let mut i = draw.below(KINDS.iter().map(|(_, share)| share).sum());
    for (kind, share) in KINDS {
        if i < share {
            return kind;
        }
        i -= share;
    }
    Kind::Author
}

fn sentence(draw: &mut Draw) -> String {
    let kind = draw_kind(draw);
    let form = draw.pick(forms(kind));
    Fact::draw(draw, kind).say(form)
}

/// A sentence or two for a story: somebody and a capital.
pub(super) fn visit(draw: &mut Draw, who: Name) -> String {
    let Country { name, capital, .. } = draw.pick(&COUNTRIES);
    let who = who.text;
    match draw.below(6) {
        0 => format!("{who} went to {capital}, the capital of {name}."),
        1 => format!("{who} lives in {capital}. {capital} is the capital of {name}."),
        2 => format!("{who} comes from {name} and lives in {capital}."),
        3 => format!("{who} took the train to {capital}, a city in {name}."),
        4 => format!("{who} had a map of {name}, and on it was {capital}."),
        _ => format!("{who} wanted to see {capital}, the capital of {name}."),
    }
}

/// A sentence that starts with its subject, where its kind has one, so that "Paris" comes without a
/// space before it, too.
fn line(draw: &mut Draw) -> String {
    let kind = draw_kind(draw);
    let first: Vec<&str> = forms(kind).iter().copied().filter(|form| form.starts_with("{x}")).collect();
    let form = if first.is_empty() || draw.percent(40) { draw.pick(forms(kind)) } else { draw.pick(&first) };
    Fact::draw(draw, kind).say(form)
}

/// Capitals and countries, one pair a line.
fn table(draw: &mut Draw) -> String {
    let kind = draw.pick(&[Kind::CountryOfCapital, Kind::CapitalOfCountry]);
    let mut facts = facts(kind);
    draw.shuffle(&mut facts);
    let n = draw.between(6, 14);
    facts[..n].iter().map(|fact| format!("{}: {}", fact.x, fact.y)).collect::<Vec<_>>().join("\n")
}

pub(super) fn document(draw: &mut Draw, cast: &mut Cast) -> String {
    if draw.percent(18) {
        return table(draw);
    }
    let mut page = Page::default();
    let lines = draw.percent(50);
    let n = draw.between(3, 7);
    let before = draw.percent(20);
    if before {
        page.add(&stories::connecting(draw, cast));
    }
    for i in 0..n {
        let separator = if lines { '\n' } else { ' ' };
        let fact = if lines { line(draw) } else { sentence(draw) };
        page.add_after(separator, &fact);
        if !lines && i + 1 < n && draw.percent(8) {
            page.add(&stories::connecting(draw, cast));
        }
    }
    if !lines && draw.percent(15) {
        let who = cast.member(draw);
        page.add(&visit(draw, who));
    }
    page.finish()
}

pub(super) fn held_out(draw: &mut Draw, n: usize) -> Vec<TestPrompt> {
    let mut asked = Vec::new();
    for (kind, _) in KINDS {
        for form in forms(kind) {
            asked.extend(facts(kind).into_iter().map(|fact| (kind, *form, fact)));
        }
    }
    draw.shuffle(&mut asked);
    asked
        .iter()
        .cycle()
        .take(n)
        .map(|(kind, form, fact)| {
            let other = loop {
                let other = Fact::draw(draw, *kind);
                if other.y != fact.y {
                    break other;
                }
            };
            let before = form.split(" {y}").next().unwrap_or_default();
            let context = if draw.percent(50) { context(draw) } else { String::new() };
            TestPrompt {
                prompt: format!("{context}{}", fact.say(before)),
                answer: format!(" {}", fact.y),
                wrong: vec![format!(" {}", other.y)],
                corrupt: Some(format!("{context}{}", other.say(before))),
            }
        })
        .collect()
}

/// A sentence that stands before no fact in the corpus.
fn context(draw: &mut Draw) -> String {
    let scene = stories::scene(draw);
    format!("{scene} Then the teacher asked the children. ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::corpus::words::{FEMALE, MALE};
    use crate::corpus::{Task, documents};

    #[test]
    fn every_form_of_every_kind_is_said() {
        let text: String = documents(5, 30_000)
            .filter(|document| document.task == Task::Facts)
            .map(|document| document.text + "\n")
            .collect();
        for (kind, _) in KINDS {
            for form in forms(kind) {
                let said = facts(kind).iter().any(|fact| text.contains(&fact.say(form)));
                assert!(said, "{form}");
            }
            for fact in facts(kind) {
                let said = forms(kind).iter().any(|form| text.contains(&fact.say(form)));
                assert!(said, "{} -> {}", fact.x, fact.y);
            }
        }
    }

    #[test]
    fn authors_are_nobody_in_the_stories() {
        for (_, first, _) in BOOKS {
            assert!(!FEMALE.contains(&first) && !MALE.contains(&first), "{first}");
        }
    }

    #[test]
    fn every_answer_follows_from_its_question() {
        for kind in [Kind::CountryOfCapital, Kind::CapitalOfCountry, Kind::Author, Kind::Book] {
            let mut subjects: Vec<String> = facts(kind).into_iter().map(|fact| fact.x).collect();
            subjects.sort();
            subjects.dedup();
            assert_eq!(subjects.len(), facts(kind).len(), "{kind:?}");
        }
    }
}
