//! The places of values in a text.

use std::collections::BTreeMap;

/// The end of the scripts, in Unicode's order, that write words apart and inflect them by letters: Latin, Greek, Cyrillic,
/// Armenian. Words of later ones often have no space before or after them.
const SPACED: char = '\u{0590}';

/// The places in a text, which are taken in their order: the second mention of a value has its second place.
pub(super) struct Places<'t> {
    text: &'t str,
    /// The number of mentions of each value so far.
    taken: BTreeMap<String, usize>,
}

impl<'t> Places<'t> {
    pub fn new(text: &'t str) -> Self {
        Self { text, taken: BTreeMap::new() }
    }

    /// Returns the place of the next mention of a value, in characters with the end not included; `None` if the text does not have
    /// the value as whole words. Mentions beyond the last place have the first.
    pub fn take(&mut self, value: &str) -> Option<(usize, usize)> {
        let count = self.taken.entry(value.to_owned()).or_default();
        *count += 1;
        let mut all = places(self.text, value);
        let first = all.next()?;
        let at = all.nth(count.checked_sub(2).unwrap_or(usize::MAX)).unwrap_or(first);
        let start = self.text[..at].chars().count();
        Some((start, start + value.chars().count()))
    }

    /// Returns `true` if a value has been mentioned at all of its places, and at least once.
    pub fn is_spent(&self, value: &str) -> bool {
        let taken = self.taken.get(value).copied().unwrap_or(0);
        taken > 0 && taken >= places(self.text, value).count()
    }
}

/// Returns the byte offsets at which a text has a value as whole words.
fn places<'a>(text: &'a str, value: &'a str) -> impl Iterator<Item = usize> + 'a {
    let is_whole = move |at: usize| {
        let joined = |before: Option<char>, after: Option<char>| {
            let is_word = |c: Option<char>| c.is_some_and(|c| c < SPACED && c.is_alphanumeric());
            is_word(before) && is_word(after)
        };
        let end = at + value.len();
        let starts_inside = joined(text[..at].chars().next_back(), value.chars().next());
        let ends_inside = joined(value.chars().next_back(), text[end..].chars().next());
        !starts_inside && !ends_inside
    };
    let found = if value.is_empty() { None } else { Some(text.match_indices(value)) };
    found.into_iter().flatten().map(|(at, _)| at).filter(move |&at| is_whole(at))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_in_characters() {
        let text = "Zoë méť Ænn in 東京都 at 5 €; 😀 Zoë left.";
        let mut places = Places::new(text);
        let characters: Vec<char> = text.chars().collect();
        for value in ["Zoë", "Ænn", "東京", "5 €", "😀", "Zoë left."] {
            let (start, end) = places.take(value).expect(value);
            assert_eq!(characters[start..end].iter().collect::<String>(), value);
        }
        assert_eq!(places.take("Zoë"), Some((29, 32)));
    }

    #[test]
    fn mentions_take_places_in_order_and_whole_words_alone() {
        let mut places = Places::new("Al met Albert, Al's brother. Hal: al.");
        assert_eq!([(); 3].map(|()| places.take("Al")), [Some((0, 2)), Some((15, 17)), Some((0, 2))]);
        assert_eq!((places.take("lber"), places.take("Bob"), places.take("")), (None, None, None));
        assert!(places.is_spent("Al") && places.is_spent("Bob") && !places.is_spent("brother"));
        // Korean and Chinese join words.
        assert_eq!(Places::new("서울에서 만났다").take("서울"), Some((0, 2)));
    }
}
