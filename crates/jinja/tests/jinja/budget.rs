//! The bounds on a template's work, counted in bytes touched.

use honelm_jinja::Limits;
use serde_json::json;

use crate::common::{refusal, render_message, render_within};

#[test]
fn short_templates_cannot_do_long_work() {
    let string = "{% set x = 'x' * 300000 %}{% set y = 'x' * 300000 ~ 'y' %}";
    let forever = |work: &str| format!("{string}{{% for i in range(99999) %}}{work}{{% endfor %}}");
    for (source, resource) in [
        ("{{ 'a'*16000000 }}".to_owned(), "bytes of output"),
        ("{{ 'a'*10**12 }}".to_owned(), "bytes in one value"),
        ("{% set d = {} %}{% for i in range(99999) %}{{ d['x'*10**8] }}{% endfor %}".to_owned(), "bytes in one value"),
        ("{% set d = {} %}{% for i in range(99999) %}{{ d['x'*10**6] }}{% endfor %}".to_owned(), "bytes touched"),
        (forever("{% set _ = x.replace(y, '') %}"), "bytes touched"),
        (forever("{% set _ = 'ab'.replace(y, '') %}"), "bytes touched"),
        (forever("{% set _ = x.replace('', '') %}"), "bytes touched"),
        (forever("{% set _ = 'x'.strip(y) %}"), "bytes touched"),
        (forever("{% set _ = x.strip(y) %}"), "bytes touched"),
        (forever("{% set _ = {y: 1}[x] %}"), "bytes touched"),
        (forever("{% set _ = {y: 1} == {x: 1} %}"), "bytes touched"),
        (forever("{% set _ = x in 'ab' %}"), "bytes touched"),
        (forever("{% set _ = '%(' ~ y ~ ')s' %}"), "bytes touched"),
        (forever("{% set _ = [1] | map(attribute=x) | list %}"), "bytes touched"),
        (forever("{% set _ = x | int(0, 36) %}"), "bytes touched"),
        (forever("{% set ns = namespace(x=x) %}{% set _ = ns | string %}"), "bytes touched"),
        ("a".repeat(600_000), "bytes of source"),
    ] {
        let start: String = source.chars().take(160).collect();
        let limits = Limits { touched_bytes: 40 << 20, ..Limits::default() };
        assert_eq!(refusal(render_message(&source, limits)), resource, "{start}");
    }
}

#[test]
fn every_bound_can_be_set() {
    let source = "{% for i in range(9) %}{{ 'abc' * 9 }}{% endfor %}";
    let render = |limits: Limits| render_message(source, limits);
    let whole = render(Limits::default()).expect("renders");
    let exact = Limits {
        source_bytes: source.len(),
        touched_bytes: whole.touched_bytes,
        value_bytes: 9 * size_of::<usize>() * 9,
        output_bytes: whole.text.len(),
        ..Limits::default()
    };
    assert_eq!(render(exact).expect("renders"), whole);
    for (limits, expected) in [
        (Limits { source_bytes: exact.source_bytes - 1, ..exact }, "bytes of source"),
        (Limits { touched_bytes: exact.touched_bytes - 1, ..exact }, "bytes touched"),
        (Limits { value_bytes: 26, ..exact }, "bytes in one value"),
        (Limits { output_bytes: exact.output_bytes - 1, ..exact }, "bytes of output"),
        (Limits { depth: 2, ..exact }, "nested levels"),
    ] {
        assert_eq!(refusal(render(limits)), expected);
    }
}

/// Returns the number of bytes that an expression touches. `x` is a text of 10,000 bytes and `z` a list of 300 short
/// texts.
fn touched(expression: &str) -> u64 {
    let words: Vec<String> = (0..300).map(|i| format!("w{}", i * 7919 % 300)).collect();
    let pairs: serde_json::Map<_, _> = words.iter().map(|word| (word.clone(), word.as_str().into())).collect();
    let x = "Wörd <b> & ".repeat(10_000 / 12);
    let variables = json!({
        "x": x, "same": x, "longer": format!("{x}!"), "z": words, "other": words, "pairs": pairs, "again": pairs,
    });
    let rendered = render_within(&format!("{{% set _ = {expression} %}}"), &variables, Limits::default());
    rendered.unwrap_or_else(|e| panic!("{expression}: {e}")).touched_bytes
}

#[test]
fn every_operation_counts_the_bytes_that_it_touches() {
    let nothing = touched("1");
    let of_text = "\
        x + 'a'; x ~ 'a'; x * 2; x == same; x != same; x < longer; x >= longer; 'z' in x; x in longer; x not in \
        longer; '%s' % x; x % (); x[1:]; x[::-1]; x[5000]; x[-5000]; {x: 1}[x]; {}[x]; [x] == [same]; {1: x} == {1: \
        same}; {x: 1} == {same: 1}; (x,) < (longer,); x in [same]; x in {}; {(x, 1): 1}; x | capitalize; x | \
        center(20000); x | count; x | e; x | escape; '%s-' | format(x); x | forceescape; x | indent; x | int; x | \
        float; x | length; x | list; x | lower; x | replace('W', 'V'); x | replace('none', ''); 'W' | replace(x, \
        ''); 'W' | replace('W', x); x | reverse; x | striptags; x | title; x | tojson; [x] | tojson; {x: 1} | \
        tojson; x | trim; x | trim('W'); 'a' | trim(x); x | truncate(9); x | upper; x | urlencode; x | wordcount; \
        {'a': x} | xmlattr; {'a': x} | urlencode; [x] | string; [x] | join; [1, 2] | join(x); [x, longer] | sort; \
        [x, longer] | max; [x, longer] | min; [x, longer] | unique | list; [{'a': x}] | groupby('a'); {x: 1, longer: \
        2} | dictsort; [x] | map('upper') | list; [x] | select('equalto', same) | list; [{'a': x}] | selectattr('a', \
        'in', longer) | list; [{}] | map(attribute=x) | list; x | attr(x); namespace(a=x) | string; x | default('') \
        ~ ''; x | batch(9) | list; x | slice(9) | list; x is upper; x is lower; x is eq same; x is ne same; x is lt \
        longer; x is in longer; x is sameas same; x.capitalize(); x.casefold(); x.center(20000); x.count('W'); \
        x.encode(); x.encode('ascii', 'ignore'); x.encode().decode(); x.encode().hex(); x.endswith(same); \
        x.expandtabs(); x.find('none'); '{}'.format(x); x.replace('{', '').format(); '{a}'.format_map({'a': x}); \
        x.index('W', 5000); x.isalnum(); x.isascii(); x.islower(); x.isprintable(); x.istitle(); x.join(['a', 'b']); \
        '-'.join([x]); x.ljust(20000); x.lower(); x.lstrip(); x.partition('none'); x.removeprefix(same); \
        x.removesuffix(same); x.replace('W', 'V'); 'W'.replace('W', x); x.rfind('none'); x.rjust(20000); \
        x.rpartition('none'); x.rsplit(); x.rsplit('W'); x.rstrip(); x.split(); x.split('W'); x.split('none'); \
        x.splitlines(); x.startswith(same); x.strip(); x.strip('W'); x.swapcase(); x.title(); x.upper(); \
        x.zfill(20000); {}.get(x); [x].count(same); [x].index(same); dict.fromkeys([x]); dict([(x, 1)]); \
        namespace(**{x: 1}); cycler(x).next() ~ ''; joiner(x)() ~ x";
    for expression in of_text.split("; ") {
        let bytes = touched(expression) - nothing;
        assert!(bytes >= 9_000, "{expression}: {bytes}");
    }
    let of_lists = "\
        z + other; z * 2; z == other; z < other; z[1:]; z[::2]; 'none' in z; pairs == again; [z] | tojson; z | \
        string; z | join; z | first ~ z | list | join; z | reverse | list; z | sort; z | unique | list; z | max; z | \
        min; z | map('length') | list; z | select | list; z | reject('eq', 1) | list; z | batch(9) | list; z | \
        slice(9) | list; z | groupby(0); z | map(attribute=0) | list; range(300) | sum; pairs | dictsort; pairs | \
        items | list; pairs | list; pairs | tojson; pairs | string; pairs | urlencode; pairs | xmlattr; \
        pairs.items() | list; pairs.keys() | list; pairs.values() | list; z.count('none'); z.index('w1'); \
        dict(pairs); dict.fromkeys(z); namespace(pairs); cycler(*z); '-'.join(z); '{w1}'.format(**pairs); '%(w1)s' | \
        format(**pairs); range(300) | list; range(300)[1:]; ('a' * 300) | list";
    for expression in of_lists.split("; ") {
        let bytes = touched(expression) - nothing;
        assert!(bytes >= 300 * 16, "{expression}: {bytes}");
    }
}

#[test]
fn lengths_and_lookups_of_long_conversations_cost_little() {
    // A traversal of all messages for each message would exceed the bound.
    let source = "{% for m in messages %}{{ messages | length - loop.index0 }}{{ m == messages[-1] }}{{ 'name' in m }}{{ messages[1:] | length }}\
                  {% endfor %}";
    let message = |i: i32| json!({"role": "user", "content": format!("{i} ").repeat(500)});
    let messages: Vec<_> = (0..1_000).map(message).collect();
    render_within(source, &json!({"messages": messages}), Limits::default()).expect("renders");
}
