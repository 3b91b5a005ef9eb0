//! The patterns of the Hub's tools, which are those of Python's `fnmatch`: `*` matches any characters including `/`, `?`
//! one character, `[a-c]` one of a set, `[!a-c]` one outside of a set.

/// Returns `true` if `pattern` matches `path`. A pattern that ends in `/` matches everything below that folder.
pub(crate) fn matches(pattern: &str, path: &str) -> bool {
    let mut pattern: Vec<char> = pattern.chars().collect();
    if pattern.last() == Some(&'/') {
        pattern.push('*');
    }
    let path: Vec<char> = path.chars().collect();
    let (mut p, mut t) = (0, 0);
    // The position of the last star and the end of what it matches: the only place to backtrack to.
    let mut star: Option<(usize, usize)> = None;
    while t < path.len() {
        if pattern.get(p) == Some(&'*') {
            star = Some((p, t));
            p += 1;
        } else if let Some(next) = one(&pattern, p, path[t]) {
            (p, t) = (next, t + 1);
        } else if let Some((at, taken)) = star {
            (p, t) = (at + 1, taken + 1);
            star = Some((at, taken + 1));
        } else {
            return false;
        }
    }
    pattern[p..].iter().all(|c| *c == '*')
}

/// Returns the position in the pattern after the item at `p`, if that item matches `c`.
fn one(pattern: &[char], p: usize, c: char) -> Option<usize> {
    match pattern.get(p)? {
        '?' => Some(p + 1),
        '[' => match class(pattern, p) {
            Some((end, yes)) => yes(c).then_some(end),
            None => (c == '[').then_some(p + 1),
        },
        own => (*own == c).then_some(p + 1),
    }
}

/// Returns the end of the set that opens at `p`, and a predicate for its characters; `None` if it is not closed.
fn class(pattern: &[char], p: usize) -> Option<(usize, impl Fn(char) -> bool)> {
    let not = pattern.get(p + 1) == Some(&'!');
    let from = p + 1 + usize::from(not);
    // A bracket at the beginning is a member of the set.
    let end = (from + 1..pattern.len()).find(|&i| pattern[i] == ']')?;
    let inside = pattern[from..end].to_vec();
    let takes = move |c: char| {
        let mut i = 0;
        let mut found = false;
        while i < inside.len() {
            if let [low, '-', high, ..] = inside[i..] {
                found |= (low..=high).contains(&c);
                i += 3;
            } else {
                found |= inside[i] == c;
                i += 1;
            }
        }
        found != not
    };
    Some((end + 1, takes))
}

#[cfg(test)]
mod tests {
    use super::matches;

    #[test]
    fn patterns_match_as_fnmatch_does() {
        for (pattern, path) in [
            ("*.json", "config.json"),
            ("*.json", "sub/config.json"),
            ("*", "a/b"),
            ("onnx/", "onnx/model.json"),
            ("m-?.gguf", "m-4.gguf"),
            ("m-[0-4].gguf", "m-4.gguf"),
            ("m-[!0-3].gguf", "m-4.gguf"),
            ("[]a]", "]"),
            ("a[", "a["),
            ("*a*b*c", "xxaxxbxabxc"),
            ("**", ""),
        ] {
            assert!(matches(pattern, path), "{pattern} {path}");
        }
        for (pattern, path) in [
            ("*.json", "config.jsonl"),
            ("*.JSON", "config.json"),
            ("onnx/", "onnx"),
            ("m-[0-3].gguf", "m-4.gguf"),
            ("m-?.gguf", "m-.gguf"),
            ("", "a"),
            ("a", ""),
            ("[a", "a"),
        ] {
            assert!(!matches(pattern, path), "{pattern} {path}");
        }
    }

    #[test]
    fn many_stars_do_not_take_exponential_time() {
        assert!(!matches(&"*a".repeat(64), &"a".repeat(63)));
        assert!(!matches(&format!("{}b", "*a".repeat(200)), &"a".repeat(1024)));
    }
}
