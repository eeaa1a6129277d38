//! The names of one server's memories, in memory: what list, search, suggestions and `.mem random` read.
//!
//! A list holds no values, and nothing that must be right is decided by it; see [`super::lists`] for how
//! old it may be.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::sync::Arc;

use crate::clock::Timestamp;

use super::key::normalise;
use super::record::Remembered;

/// How many trigrams two names share at least to count as similar: of all they have together.
const SIMILAR: f64 = 0.3;

/// A B-tree node's share, the pointers and the fixed fields of an entry, on a 64-bit machine.
const ENTRY_BYTES: usize = 120;

/// Every name that means something on one server, in the order of keys.
#[derive(Clone, Debug, Default)]
pub struct List {
    entries: BTreeMap<Arc<str>, Entry>,
    /// How many entries are other names.
    aliases: usize,
    /// The last revision of what was seen to be forgotten, so that nothing older brings it back.
    gone: BTreeMap<Box<str>, u64>,
}

/// What the list knows of a memory or an alias.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// `None` if it is the key itself.
    display: Option<Box<str>>,
    pub created_by: u64,
    pub created_at: Option<Timestamp>,
    pub alias_of: Option<Arc<str>>,
    pub locked: bool,
    pub rev: u64,
    pub recalls: u64,
}

/// A name found in a list.
#[derive(Clone, Copy, Debug)]
pub struct Found<'a> {
    pub key: &'a str,
    pub entry: &'a Entry,
}

impl<'a> Found<'a> {
    /// The name as people see it.
    pub fn display(&self) -> &'a str {
        self.entry.display.as_deref().unwrap_or(self.key)
    }
}

impl List {
    /// Takes in a record as it now is; an older state than the one known changes nothing.
    pub fn take_in(&mut self, record: &Remembered) {
        let key = record.rem_key.as_str();
        if self.rev(key) > record.rev {
            return;
        }
        if record.is_forgotten() {
            self.take_out(key);
            self.gone.insert(key.into(), record.rev);
            return;
        }
        self.gone.remove(key);
        let display = record.display();
        let entry = Entry {
            display: (display != key).then(|| display.into()),
            created_by: record.created_by.unwrap_or_default(),
            created_at: record.created_at,
            alias_of: record.alias_of.as_deref().map(Arc::from),
            locked: record.locked_by.is_some(),
            rev: record.rev,
            recalls: self.entries.get(key).map_or(0, |known| known.recalls),
        };
        self.take_out(key);
        self.aliases += usize::from(entry.alias_of.is_some());
        self.entries.insert(key.into(), entry);
    }

    /// The key is not in the table any more.
    pub fn take_out(&mut self, key: &str) {
        let known = self.entries.remove(key);
        self.aliases -= usize::from(known.is_some_and(|entry| entry.alias_of.is_some()));
    }

    /// The last known revision of a key; 0 if nothing is known of it.
    pub fn rev(&self, key: &str) -> u64 {
        let gone = || self.gone.get(key).copied().unwrap_or(0);
        self.entries.get(key).map_or_else(gone, |known| known.rev)
    }

    pub fn add_recalls(&mut self, key: &str, times: u64) {
        if let Some(entry) = self.entries.get_mut(key) {
            entry.recalls += times;
        }
    }

    /// About how much memory it takes.
    pub fn bytes(&self) -> usize {
        let texts = |(key, entry): (&Arc<str>, &Entry)| {
            let display = entry.display.as_ref().map_or(0, |text| text.len());
            ENTRY_BYTES + key.len() + display + entry.alias_of.as_ref().map_or(0, |text| text.len())
        };
        let gone: usize = self.gone.keys().map(|key| ENTRY_BYTES + key.len()).sum();
        self.entries.iter().map(texts).sum::<usize>() + gone
    }

    /// About how much memory one more key takes.
    pub fn bytes_of(key: &str) -> usize {
        ENTRY_BYTES + key.len()
    }

    pub fn get(&self, key: &str) -> Option<Found<'_>> {
        self.entries.get_key_value(key).map(|(key, entry)| Found { key, entry })
    }

    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    pub fn iter(&self) -> impl Iterator<Item = Found<'_>> {
        self.entries.iter().map(|(key, entry)| Found { key, entry })
    }

    /// Memories without their other names, in the order of keys.
    pub fn memories(&self) -> impl Iterator<Item = Found<'_>> {
        self.iter().filter(|found| found.entry.alias_of.is_none())
    }

    /// How many memories there are.
    pub fn memory_count(&self) -> usize {
        self.entries.len() - self.aliases
    }

    /// The other names of a memory.
    pub fn names_of<'a>(&'a self, key: &'a str) -> impl Iterator<Item = Found<'a>> {
        self.iter().filter(move |found| found.entry.alias_of.as_deref() == Some(key))
    }

    /// What fits a text, the best first; an alias only if what it stands for is known.
    pub fn search(&self, text: &str) -> Vec<Found<'_>> {
        let text = Sought::new(text);
        let usable = |found: &Found<'_>| match &found.entry.alias_of {
            Some(target) => self.entries.contains_key(target),
            None => true,
        };
        let ranked = self.iter().filter(usable).filter_map(|found| Some((text.rank(found.key)?, found)));
        let mut ranked: Vec<_> = ranked.collect();
        ranked.sort_by(|(rank, a), (other, b)| {
            rank.cmp(other).then(b.entry.recalls.cmp(&a.entry.recalls)).then(a.key.cmp(b.key))
        });
        ranked.into_iter().map(|(_, found)| found).collect()
    }

    /// Up to `max` names that may have been meant, the best first; not the one that was typed.
    pub fn suggestions(&self, typed: &str, max: usize) -> Vec<Found<'_>> {
        let typed = normalise(typed);
        self.search(&typed).into_iter().filter(|found| found.key != typed).take(max).collect()
    }

    /// The key that a short name stands for.
    pub fn behind_short_name(&self, short: &str) -> Option<&str> {
        self.iter().map(|found| found.key).find(|key| super::key::short_name(key) == short)
    }
}

/// How well a key fits, the best first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Rank {
    Equal,
    StartsWith,
    WordStartsWith,
    Contains,
    Similar,
}

struct Sought {
    text: String,
    /// In order, so that they can be compared in one pass.
    trigrams: Vec<[char; 3]>,
}

impl Sought {
    fn new(text: &str) -> Self {
        let text = normalise(text);
        let trigrams = sorted_trigrams(&text);
        Self { text, trigrams }
    }

    fn rank(&self, key: &str) -> Option<Rank> {
        let text = self.text.as_str();
        Some(match key.find(text) {
            Some(0) if key.len() == text.len() => Rank::Equal,
            Some(0) => Rank::StartsWith,
            Some(_) if key.split(' ').any(|word| word.starts_with(text)) || starts_word(key, text) => {
                Rank::WordStartsWith
            }
            Some(_) => Rank::Contains,
            None if self.is_similar(key) => Rank::Similar,
            None => return None,
        })
    }

    fn is_similar(&self, key: &str) -> bool {
        similarity(&self.trigrams, key) >= SIMILAR || is_slip(&self.text, key)
    }
}

/// Whether the text, of several words, stands at the start of a word.
fn starts_word(key: &str, text: &str) -> bool {
    key.match_indices(text).any(|(at, _)| key[..at].ends_with(' '))
}

/// One slip of the fingers in a short name, two in a longer one: trigrams see little in short names.
fn is_slip(typed: &str, key: &str) -> bool {
    let allowed = if typed.chars().count() <= 4 { 1 } else { 2 };
    // A cheap bound first: most keys differ in length alone by more.
    let lengths = typed.chars().count().abs_diff(key.chars().count());
    lengths <= allowed && typed.len() > 1 && strsim::osa_distance(typed, key) <= allowed
}

/// Shared trigrams out of all, each as often as it occurs.
fn similarity(sought: &[[char; 3]], key: &str) -> f64 {
    let known = sorted_trigrams(key);
    let (mut a, mut b, mut shared) = (0, 0, 0_u32);
    while a < sought.len() && b < known.len() {
        match sought[a].cmp(&known[b]) {
            Ordering::Less => a += 1,
            Ordering::Greater => b += 1,
            Ordering::Equal => (a, b, shared) = (a + 1, b + 1, shared + 1),
        }
    }
    f64::from(shared) / (sought.len() + known.len() - shared as usize) as f64
}

fn sorted_trigrams(text: &str) -> Vec<[char; 3]> {
    let mut all: Vec<_> = trigrams(text).collect();
    all.sort_unstable();
    all
}

/// Three neighbouring characters each; the start weighs more, by two spaces before it and one after.
fn trigrams(text: &str) -> impl Iterator<Item = [char; 3]> {
    let mut window = [' ', ' '];
    text.chars().chain([' ']).map(move |c| {
        let trigram = [window[0], window[1], c];
        window = [window[1], c];
        trigram
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(keys: &[&str]) -> List {
        let mut list = List::default();
        for key in keys {
            list.take_in(&Remembered::adopted(1, key, "x"));
        }
        list
    }

    fn keys(found: Vec<Found<'_>>) -> Vec<&str> {
        found.into_iter().map(|found| found.key).collect()
    }

    #[test]
    fn the_best_fit_comes_first() {
        let mut list = list(&["wifi", "wifi guest", "free wifi", "officewifi", "wify", "printer"]);
        assert_eq!(keys(list.search("WiFi")), ["wifi", "wifi guest", "free wifi", "officewifi", "wify"]);
        assert_eq!(keys(list.search("prin")), ["printer"]);
        assert_eq!(keys(list.search("zebra")), [] as [&str; 0]);
        list.take_in(&Remembered::adopted(1, "wifi home", "x"));
        list.add_recalls("wifi home", 3);
        assert_eq!(keys(list.search("wifi"))[..3], ["wifi", "wifi home", "wifi guest"]);
    }

    #[test]
    fn slips_of_the_fingers_are_suggested() {
        let list = list(&["wifi", "meeting", "what is love"]);
        assert_eq!(keys(list.suggestions("wfii", 3)), ["wifi"]);
        assert_eq!(keys(list.suggestions("meetign", 3)), ["meeting"]);
        assert_eq!(keys(list.suggestions("what is lov", 3)), ["what is love"]);
        assert_eq!(keys(list.suggestions("x", 3)), [] as [&str; 0]);
    }

    #[test]
    fn an_older_state_changes_nothing() {
        let mut list = List::default();
        let mut record = Remembered::adopted(1, "tea", "hot");
        record.rev = 2;
        list.take_in(&record);
        record.rev = 1;
        record.locked_by = Some(5);
        list.take_in(&record);
        assert!(!list.get("tea").unwrap().entry.locked);
        record.rev = 3;
        list.take_in(&record);
        assert!(list.get("tea").unwrap().entry.locked);
    }

    #[test]
    fn an_alias_is_found_while_its_memory_is_known() {
        let mut list = list(&["wifi"]);
        let mut alias = Remembered::adopted(1, "wlan", "");
        alias.alias_of = Some("wifi".to_owned());
        list.take_in(&alias);
        assert_eq!(keys(list.search("wlan")), ["wlan"]);
        assert_eq!(keys(list.names_of("wifi").collect()), ["wlan"]);
        assert_eq!(keys(list.memories().collect()), ["wifi"]);
        assert_eq!(list.memory_count(), 1);
        list.take_out("wifi");
        assert_eq!(keys(list.search("wlan")), [] as [&str; 0]);
    }

    #[test]
    fn a_list_knows_its_size() {
        let list = list(&["a"; 1]);
        assert!((ENTRY_BYTES..150).contains(&list.bytes()));
    }
}
