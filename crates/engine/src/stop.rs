//! The search for stop texts, which can span several tokens.

/// A scanner that holds back text that may be the beginning of a stop text.
#[derive(Debug)]
pub(crate) struct StopScanner {
    stops: Vec<String>,
    held: String,
    /// `true` once a stop text has been found.
    pub stopped: bool,
}

impl StopScanner {
    /// Creates a scanner for these texts, none of which is empty.
    pub fn new(stops: Vec<String>) -> Self {
        Self { stops, held: String::new(), stopped: false }
    }

    /// Adds text and returns the text that is certainly before any stop text. If several stop texts match, the one that
    /// ends first counts, so that the result does not depend on the division of the text into pieces.
    pub fn push(&mut self, text: &str) -> String {
        if self.stopped {
            return String::new();
        }
        self.held.push_str(text);
        let matches = self.stops.iter().filter_map(|stop| {
            let start = self.held.find(stop.as_str())?;
            Some((start + stop.len(), start))
        });
        if let Some((_, start)) = matches.min() {
            self.stopped = true;
            self.held.truncate(start);
            return std::mem::take(&mut self.held);
        }
        let kept = self.stops.iter().map(|stop| overlap(&self.held, stop)).max().unwrap_or(0);
        let rest = self.held.split_off(self.held.len() - kept);
        std::mem::replace(&mut self.held, rest)
    }

    /// Returns the text that is still held back, which is not a stop text.
    pub fn finish(&mut self) -> String {
        std::mem::take(&mut self.held)
    }
}

/// Returns the length of the longest suffix of `text` that is a prefix of `stop` and shorter than it.
fn overlap(text: &str, stop: &str) -> usize {
    let longest = text.len().min(stop.len() - 1);
    let ends = |&n: &usize| stop.is_char_boundary(n) && text.as_bytes().ends_with(&stop.as_bytes()[..n]);
    (1..=longest).rev().find(ends).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scan(stops: &[&str], pieces: &[&str]) -> (Vec<String>, String, bool) {
        let mut scanner = StopScanner::new(stops.iter().map(|s| (*s).to_owned()).collect());
        let out = pieces.iter().map(|piece| scanner.push(piece)).collect();
        let stopped = scanner.stopped;
        (out, scanner.finish(), stopped)
    }

    #[test]
    fn the_possible_beginning_of_a_stop_text_is_held_back() {
        let (out, rest, stopped) = scan(&["END"], &["ab", "cE", "N", "x", "E", "ND more", "no"]);
        assert_eq!(out, ["ab", "c", "", "ENx", "", "", ""]);
        assert_eq!(rest, "");
        assert!(stopped);
    }

    #[test]
    fn text_that_is_not_a_stop_text_is_returned() {
        assert_eq!(scan(&["END"], &["abEN"]), (vec!["ab".to_owned()], "EN".to_owned(), false));
        assert_eq!(scan(&[], &["abEN"]), (vec!["abEN".to_owned()], String::new(), false));
    }

    #[test]
    fn text_is_cut_at_character_boundaries() {
        // The stop text begins with bytes that other characters share.
        let (out, rest, stopped) = scan(&["é!"], &["aè", "é", "?é", "!b"]);
        assert_eq!((out.concat(), rest.as_str(), stopped), ("aèé?".to_owned(), "", true));
    }

    #[test]
    fn the_result_does_not_depend_on_how_the_text_is_cut() {
        let text = "aababcabcdbcaéabab";
        let chars: Vec<String> = text.chars().map(String::from).collect();
        for stops in [&["abcd", "bc"][..], &["bcd", "abcd"], &["aab"], &["éa", "xx"], &["b", "ab"], &["zz", "abab!"]] {
            let one = scan(stops, &[text]);
            let expected = (one.0.concat(), one.1, one.2);
            for size in 1..7 {
                let pieces: Vec<String> = chars.chunks(size).map(<[String]>::concat).collect();
                let pieces: Vec<&str> = pieces.iter().map(String::as_str).collect();
                let (out, rest, stopped) = scan(stops, &pieces);
                let found = if stopped {
                    (out.concat(), rest, stopped)
                } else {
                    (out.concat() + &rest, String::new(), stopped)
                };
                let expected = if stopped { expected.clone() } else { (text.to_owned(), String::new(), false) };
                assert_eq!(found, expected, "{stops:?} in pieces of {size}");
            }
        }
    }
}
