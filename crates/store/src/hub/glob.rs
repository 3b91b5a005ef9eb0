//! The patterns of the Hub's tools: `*` any characters, `/` too; `?` one; `[a-c]` one of these, `[!a-c]` none of these.

/// Whether `pattern` means `path`. A pattern that ends in `/` means everything below it.
pub(crate) fn matches(pattern: &str, path: &str) -> bool {
    let mut pattern: Vec<char> = pattern.chars().collect();
    if pattern.last() == Some(&'/') {
        pattern.push('*');
    }
    let path: Vec<char> = path.chars().collect();
    let (mut p, mut t) = (0, 0);
    // Where the last star stands, and how much it takes: the only place to come back to.
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

/// Where the pattern goes on after taking `c` at `p`.
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

/// The class that opens at `p`: where it ends, and what it takes. None where it is not closed.
fn class(pattern: &[char], p: usize) -> Option<(usize, impl Fn(char) -> bool)> {
    let not = pattern.get(p + 1) == Some(&'!');
    let from = p + 1 + usize::from(not);
    // A bracket right at the beginning is one of the characters.
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
    fn patterns_mean_what_they_mean_to_other_tools() {
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
    fn many_stars_take_no_more_than_a_moment() {
        assert!(!matches(&"*a".repeat(64), &"a".repeat(63)));
        assert!(!matches(&format!("{}b", "*a".repeat(200)), &"a".repeat(1024)));
    }
}
