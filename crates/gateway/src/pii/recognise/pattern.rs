//! The patterns of identifiers: a small language, so that a table of them is easy to read and fast to match.
//!
//! | | matches |
//! |---|---|
//! | `9` `A` `X` | a digit; a letter; either (ASCII, whatever the case) |
//! | `[CF-H0-9]` | one of these |
//! | `_` `-` `=` | at most one space; space or hyphen; space, hyphen, full stop or slash |
//! | `~` `!c` | exactly one space or hyphen; exactly the character `c` |
//! | another letter or digit | itself |
//! | `{n}` `{m,n}` | the preceding item n, or m to n times |

/// A compiled pattern.
#[derive(Debug)]
pub(crate) struct Pattern {
    items: Vec<Item>,
}

/// A set of ASCII characters and how often it occurs.
#[derive(Debug, Clone, Copy)]
struct Item {
    set: u128,
    least: u8,
    most: u8,
}

fn set(chars: &str) -> u128 {
    chars.bytes().fold(0, |set, b| {
        set | 1 << (b & 127) | 1 << (b.to_ascii_lowercase() & 127) | 1 << (b.to_ascii_uppercase() & 127)
    })
}

impl Pattern {
    /// Compiles a pattern of the tables of this crate; a malformed one matches nothing, which a test excludes.
    pub fn new(text: &str) -> Self {
        let mut items: Vec<Item> = Vec::new();
        let mut chars = text.chars().peekable();
        let (digits, letters) = (set("0123456789"), set("ABCDEFGHIJKLMNOPQRSTUVWXYZ"));
        while let Some(c) = chars.next() {
            let item = |set, least| Item { set, least, most: 1 };
            items.push(match c {
                '9' => item(digits, 1),
                'A' => item(letters, 1),
                'X' => item(digits | letters, 1),
                '_' => item(set(" "), 0),
                '-' => item(set(" -"), 0),
                '=' => item(set(" -./"), 0),
                '~' => item(set(" -"), 1),
                '!' => item(chars.next().map_or(0, |c| set(c.encode_utf8(&mut [0; 4]))), 1),
                '[' => {
                    let inner: Vec<char> = chars.by_ref().take_while(|c| *c != ']').collect();
                    let mut all = String::new();
                    let mut at = 0;
                    while at < inner.len() {
                        if inner.get(at + 1) == Some(&'-') && at + 2 < inner.len() {
                            all.extend(inner[at]..=inner[at + 2]);
                            at += 3;
                        } else {
                            all.push(inner[at]);
                            at += 1;
                        }
                    }
                    item(set(&all), 1)
                }
                '{' => {
                    let inner: String = chars.by_ref().take_while(|c| *c != '}').collect();
                    let (least, most) = inner.split_once(',').unwrap_or((&inner, &inner));
                    if let Some(last) = items.last_mut() {
                        (last.least, last.most) = (least.parse().unwrap_or(1), most.parse().unwrap_or(0));
                    }
                    continue;
                }
                other => item(set(other.encode_utf8(&mut [0; 4])), 1),
            });
        }
        Self { items }
    }

    /// Returns the end of the longest match at `at` that ends with a word.
    pub fn matches(&self, text: &[u8], at: usize) -> Option<usize> {
        Self::from(&self.items, text, at)
    }

    fn from(items: &[Item], text: &[u8], at: usize) -> Option<usize> {
        let Some((item, rest)) = items.split_first() else {
            return (!text.get(at).is_some_and(|b| b.is_ascii_alphanumeric() || *b >= 0x80)).then_some(at);
        };
        let fits = |b: &&u8| **b < 128 && item.set >> **b & 1 == 1;
        let found = text[at..].iter().take(usize::from(item.most)).take_while(fits).count();
        (usize::from(item.least)..=found).rev().find_map(|n| Self::from(rest, text, at + n))
    }

    /// Tells if a match may begin with a digit, and with a letter.
    pub fn begins(&self) -> [bool; 2] {
        let first = self.items.first().map_or(0, |item| item.set);
        [first & set("0123456789") != 0, first & set("ABCDEFGHIJKLMNOPQRSTUVWXYZ") != 0]
    }

    /// Returns the lengths, as bits, that the first word of a match may have.
    pub fn first_words(&self) -> u64 {
        let word = set("0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ");
        let (mut least, mut most, mut out) = (0u32, 0u32, 0u64);
        let span = |least: u32, most: u32| (least..=most.min(63)).fold(0u64, |bits, n| bits | 1 << n);
        for item in &self.items {
            if item.set & word == 0 {
                out |= span(least, most);
                if item.least > 0 {
                    return out;
                }
            } else {
                least += u32::from(item.least);
                most += u32::from(item.most);
            }
        }
        out | span(least, most)
    }
}
