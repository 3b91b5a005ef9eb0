use super::*;

fn compile(text: &str) -> Result<Pattern> {
    Pattern::expression("pre_tokenizer", text, &compile_budget())
}

fn pattern(text: &str) -> Pattern {
    compile(text).unwrap_or_else(|error| panic!("{text}: {error}"))
}

/// Returns all matches, joined.
fn matches(expression: &str, text: &str) -> String {
    let mut found = Vec::new();
    pattern(expression)
        .find_all(text, &Budget::new(1 << 24), &mut |range| {
            found.push(&text[range]);
            Ok(())
        })
        .unwrap_or_else(|error| panic!("{expression}: {error}"));
    found.join("|")
}

fn refusal(expression: &str) -> String {
    let error = compile(expression).err().unwrap_or_else(|| panic!("{expression} is read"));
    assert_eq!(error.code(), "tokenizer-json");
    error.to_string()
}

fn is_linear(expression: &str) -> bool {
    matches!(pattern(expression), Pattern::Linear(_))
}

#[test]
fn an_interval_with_a_plus_is_repeated_rather_than_possessive() {
    assert_eq!(matches(r"\p{N}{1,3}+", "12345 6"), "12345|6");
    assert_eq!(matches(r"a{1,3}", "aaaaa"), "aaa|aa");
    assert_eq!(matches(r"a{2}?b", "aab b"), "aab|b");
    assert_eq!(matches(r"a{,2}b", "aaab"), "aab");
    assert_eq!(matches(r"a{1,2}?b?", "aab"), "a|ab");
    assert_eq!(matches(r"a++a|b", "aab"), "b");
    assert_eq!(matches(r"a{x}", "a{x}"), "a{x}");
}

#[test]
fn anchors_are_those_of_lines() {
    assert_eq!(matches(r"\s+$", "a \n b \n"), " | \n");
    assert_eq!(matches(r"^.", "ab\ncd\n"), "a|c");
    assert_eq!(matches(r"\Aa|b\z", "a ab\nb"), "a|b");
    assert_eq!(matches(r"b\Z", "b\nb\n"), "b");
    assert_eq!(matches(r"(?m:.)+", "a\nb"), "a\nb");
    assert_eq!(matches(r".+", "a\nb"), "a|b");
}

#[test]
fn classes_are_those_of_unicode() {
    assert_eq!(matches("[[:alpha:]]+", "aé日_1"), "aé日");
    assert_eq!(matches("[[:^alpha:]]+", "aé日_1"), "_1");
    assert_eq!(matches("[[:punct:]]", "a+«b_"), "+|«|_");
    assert_eq!(matches(r"\p{Punct}", "a+«b_"), "«|_");
    assert_eq!(matches(r"\p{^Alnum}+", "a1 +é"), " +");
    assert_eq!(matches(r"\h+", "xbEeF \t"), "bEeF");
    assert_eq!(matches(r"\d+", "1٣²"), "1٣");
    assert_eq!(matches(r"\w+", "a\u{200d}b"), "a|b");
    assert_eq!(matches(r"[a-c--]+", "ab-cd"), "ab-c");
    assert_eq!(matches(r"[+-~~]+", "+~ "), "+~");
    assert_eq!(matches(r"[\p{L}&&[^\p{Han}]]+", "ab日c"), "ab|c");
    assert_eq!(matches(r"[]a]+", "]a]"), "]a]");
    assert_eq!(matches(r"\bb+\b", "b ab bb é\u{301}b"), "b|bb");
}

#[test]
fn case_is_ignored_as_far_as_one_character_stays_one() {
    assert_eq!(matches("(?i:'s|'t|'re|'ve|'m|'ll|'d)", "'S'Re'\u{17f}x'rE"), "'S|'Re|'\u{17f}|'rE");
    assert_eq!(matches("a(?i)b|c", "aB aC C c"), "aB|aC");
    assert_eq!(matches("(?i:[a-z]+)", "abC1K\u{212a}"), "abC|K\u{212a}");
    for expression in ["(?i:ss)", "(?i:ß)", "(?i)fin", "(?i:[à-ÿ])", r"(?i)\p{Lu}", r"(?i:[\p{L}])", "(?i:é)"] {
        assert!(refusal(expression).contains("regard to case"), "{expression}");
    }
}

#[test]
fn what_has_another_meaning_or_none_is_refused_by_name() {
    for (expression, name) in [
        (r"\xE4", r"`\x`"),
        (r"(a)\1", r"`\1`"),
        (r"(?s:.)", "(?s"),
        (r"(?P<a>b)", "(?P"),
        (r"\pL", r"`\p`"),
        (r"\p{Script=Han}", "Script=Han"),
        (r"\p{Nonsense}", "Nonsense"),
        (r"[[:graph:]]", "graph"),
        (r"\X", r"`\X`"),
        (r"\K", r"`\K`"),
        ("a**", "consecutive quantifiers"),
        ("*a", "no expression before"),
        ("a{1001}", "above 1000"),
        ("(a", "parenthesis is missing"),
        ("a)", "without an opening"),
        ("[a", "closing bracket"),
        ("[z-a]", "'z' to 'a'"),
        ("\\", "at the end"),
    ] {
        let message = refusal(expression);
        assert!(message.contains(name), "{expression}: {message}");
    }
    assert!(refusal(&"(".repeat(100)).contains("nested"));
    assert!(refusal(&"a".repeat(40_000)).contains("bytes"));
    assert!(refusal("(((((a{999}){999}){999}){999}){999})").contains("limit of 8388608"));
    assert!(refusal(&r"\p{L}".repeat(6000)).contains("limit"));
}

#[test]
fn expressions_of_published_tokenizers_run_in_linear_time() {
    for expression in crate::split::expressions() {
        let hard = [r"(?=(?:\p{N}{3})*", r"(?=(?:\d{3})*", r"(?=(\d{3})+"].iter().any(|part| expression.contains(part));
        assert_eq!(is_linear(expression), !hard, "{expression}");
    }
    assert!(is_linear(
        r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}++|\p{N}{1,3}+| ?[^\s\p{L}\p{N}]++[\r\n]*+|\s+(?!\S)|\s"
    ));
}

#[test]
fn a_linear_form_finds_what_backtracking_finds() {
    let texts =
        ["a  b", "  ", "a \n\n b\n", "x   ", "a1  23 \t\u{3000}", "!!\n\n?  x", "don't  1234", "aaab", "ab\nab"];
    for expression in [
        crate::split::GPT2,
        r"\s+(?!\S)|\s",
        r"\s{2,3}(?=\S)|\s",
        r"\s{1,2}(?!\n)",
        r"a++b|a",
        r"a?+b|[^b]*+b?",
        r" ?[^\s\p{L}\p{N}]++[\r\n]*|\s*[\r\n]+|\p{L}+(?=\d)|\S",
        r"\s+$|\s",
        "a*?b|",
    ] {
        let budget = compile_budget();
        let tree = syntax::parse(expression, &budget).unwrap_or_else(|error| panic!("{error}"));
        let hard = Lookaround::new(expression, &tree, &budget).unwrap_or_else(|error| panic!("{error}"));
        assert!(is_linear(expression), "{expression}");
        for text in texts {
            let mut found = Vec::new();
            find_all(text, &mut |at| hard.match_at(text, at), &mut |range| {
                found.push(&text[range]);
                Ok(())
            })
            .unwrap_or_else(|error| panic!("{error}"));
            assert_eq!(matches(expression, text), found.join("|"), "{expression} on {text:?}");
        }
    }
}

#[test]
fn looking_around_is_paid_for_before_it_is_done() {
    let long = "a".repeat(100_000);
    let find = |expression: &str, text: &str| {
        pattern(expression).find_all(text, &Budget::for_text(Budget::BASE, text.len()), &mut |_| Ok(()))
    };
    for expression in ["(?=a*$)", "(?:(?=a*)a)*b|a", "(a|a)*(?!b)c", "a*a*a*(?<=a)c", "(?=(a+)+b)"] {
        let error = find(expression, &long).err().unwrap_or_else(|| panic!("{expression} ran"));
        assert_eq!(error.code(), "text-work-limit", "{expression}");
        assert!(find(expression, &"ab ".repeat(1000)).is_ok(), "{expression}");
    }
    // Repeated searches are counted as they run.
    let counted = pattern("a*b|a").find_all(&long, &Budget::new(1 << 22), &mut |_| Ok(()));
    assert_eq!(counted.err().map(|error| error.code()), Some("text-work-limit"));
}

#[test]
fn digits_are_grouped_from_the_right() {
    assert_eq!(matches(r"\p{N}{1,3}(?=(?:\p{N}{3})*(?!\p{N}))", "1234567 12 123456"), "1|234|567|12|123|456");
    assert_eq!(matches(r"\d{1,3}(?=(?:\d{3})*\b)", "1234567 12a 34"), "1|234|567|34");
}
