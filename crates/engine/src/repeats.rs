//! Calls that repeat an earlier call of the same answer.
//!
//! Where an answer must call tools and may have several calls, a model that has no other call to make often writes the same one
//! again and again. Such a call is left out, and the answer ends there.

use honelm_text::answer::Event;

/// A call as far as it is known.
#[derive(Default, PartialEq, Eq)]
struct Call {
    name: String,
    arguments: String,
}

/// A filter of an answer's parts. It holds a call back while it has the text of an earlier one.
#[derive(Default)]
pub(crate) struct Repeats {
    done: Vec<Call>,
    open: Call,
    held: Vec<Event>,
    /// `true` once a call was repeated. Nothing follows.
    pub found: bool,
}

impl Repeats {
    /// Returns the parts that may be passed on.
    pub fn filter(&mut self, events: Vec<Event>) -> Vec<Event> {
        let mut passed = Vec::with_capacity(events.len());
        for event in events {
            if self.found {
                break;
            }
            match &event {
                Event::CallBegins { name, .. } => self.open = Call { name: name.clone(), arguments: String::new() },
                Event::CallArguments { fragment, .. } => self.open.arguments.push_str(fragment),
                Event::CallEnds { .. } if self.done.contains(&self.open) => {
                    self.found = true;
                    self.held.clear();
                    break;
                }
                Event::CallEnds { .. } => self.done.push(std::mem::take(&mut self.open)),
                Event::CallBroken { .. } => self.open = Call::default(),
                Event::Text(_) | Event::Reasoning(_) => {}
            }
            self.held.push(event);
            if !self.may_repeat() {
                passed.append(&mut self.held);
            }
        }
        passed
    }

    /// Returns `true` while the open call has the text of an earlier one.
    fn may_repeat(&self) -> bool {
        let is_like = |call: &Call| call.name == self.open.name && call.arguments.starts_with(&self.open.arguments);
        self.done.iter().any(is_like)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(index: usize, name: &str, fragments: &[&str]) -> Vec<Event> {
        let begins = Event::CallBegins { index, id: index.to_string(), name: name.to_owned() };
        let parts = fragments.iter().map(|text| Event::CallArguments { index, fragment: (*text).to_owned() });
        std::iter::once(begins).chain(parts).chain([Event::CallEnds { index }]).collect()
    }

    /// Passes events on one by one, and returns them with the largest number that came at once.
    fn filtered(events: &[Event]) -> (Vec<Event>, usize, bool) {
        let mut repeats = Repeats::default();
        let pieces: Vec<Vec<Event>> = events.iter().map(|event| repeats.filter(vec![event.clone()])).collect();
        let most = pieces.iter().map(Vec::len).max().unwrap_or(0);
        assert_eq!(pieces.concat(), Repeats::default().filter(events.to_vec()), "in one piece");
        (pieces.concat(), most, repeats.found)
    }

    #[test]
    fn a_repeated_call_is_left_out_and_ends_the_answer() {
        let first = [call(0, "f", &["{\"a\": ", "1}"]), call(1, "g", &["{}"])].concat();
        for (name, fragments) in [("f", &["{\"a\"", ": 1}"][..]), ("g", &["{}"])] {
            let all = [&first[..], &call(2, name, fragments), &[Event::Text("more".to_owned())]].concat();
            assert_eq!(filtered(&all), (first.clone(), 1, true));
        }
    }

    #[test]
    fn other_calls_pass_once_they_differ() {
        let all = [
            call(0, "f", &["{\"a\": ", "1}"]),
            call(1, "f", &["{\"a\": ", "12}"]),
            call(2, "f", &["{}"]),
            call(3, "g", &["{\"a\": ", "1}"]),
        ]
        .concat();
        // The name and the first part of the second call are held back until the next part differs.
        assert_eq!(filtered(&all), (all.clone(), 3, false));
    }

    #[test]
    fn a_call_that_is_cut_short_is_not_held_back() {
        let reason = honelm_text::answer::BrokenCall::CutShort;
        let broken = Event::CallBroken { index: Some(1), reason, text: "{".to_owned() };
        let mut all = [call(0, "f", &["{}"]), call(1, "f", &["{"])].concat();
        all.pop();
        all.push(broken);
        assert_eq!(filtered(&all), (all.clone(), 3, false));
    }
}
