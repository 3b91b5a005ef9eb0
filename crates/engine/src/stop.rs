//! Stop texts that may span tokens.

/// Holds back text that may be the beginning of a stop text.
#[derive(Debug)]
pub(crate) struct StopScanner {
    stops: Vec<String>,
    held: String,
    /// Whether a stop text was found.
    pub stopped: bool,
}

impl StopScanner {
    /// A scanner for these texts, none of which is empty.
    pub fn new(stops: Vec<String>) -> Self {
        Self { stops, held: String::new(), stopped: false }
    }

    /// Takes text; returns what is certainly before any stop text. Where several stop texts match, the one that is
    /// complete first counts, so that the result does not depend on how the text is cut.
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

    /// What is still held back: no stop text after all.
    pub fn finish(&mut self) -> String {
        std::mem::take(&mut self.held)
    }
}

/// Length of the longest end of `text` that `stop` begins with, without being all of it.
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
    fn holds_back_what_may_begin_a_stop_text() {
        let (out, rest, stopped) = scan(&["END"], &["ab", "cE", "N", "x", "E", "ND more", "no"]);
        assert_eq!(out, ["ab", "c", "", "ENx", "", "", ""]);
        assert_eq!(rest, "");
        assert!(stopped);
    }

    #[test]
    fn gives_back_what_was_no_stop_text() {
        assert_eq!(scan(&["END"], &["abEN"]), (vec!["ab".to_owned()], "EN".to_owned(), false));
        assert_eq!(scan(&[], &["abEN"]), (vec!["abEN".to_owned()], String::new(), false));
    }

    #[test]
    fn cuts_at_character_boundaries() {
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
