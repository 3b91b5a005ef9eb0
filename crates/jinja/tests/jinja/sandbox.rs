//! Hostile templates: each is refused quickly and with its reason.

use honelm_jinja::{Error, ErrorKind, Limits};

use crate::common::render_message;

/// Renders a user message with small bounds.
fn render(source: &str) -> Result<String, Error> {
    let limits = Limits { touched_bytes: 50_000 * 64, output_bytes: 10_000, ..Limits::default() };
    Ok(render_message(source, limits)?.text)
}

fn limit(resource: &'static str, limit: u64) -> ErrorKind {
    ErrorKind::Limit { resource, limit }
}

/// Returns the kind of the error as a word.
fn outcome(source: &str) -> &'static str {
    match render(source).map_err(|error| error.kind) {
        Ok(_) => "none",
        Err(ErrorKind::Syntax(_)) => "syntax",
        Err(ErrorKind::Raised(_)) => "raised",
        Err(ErrorKind::Limit { .. }) => "limit",
        Err(ErrorKind::Failed(_)) => "failed",
    }
}

#[test]
fn endless_templates_are_stopped() {
    let nested = "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}";
    assert_eq!(render(nested).expect_err("refused").kind, limit("bytes touched", 50_000 * 64));
    let recursive = "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}";
    assert_eq!(outcome(recursive), "limit");
}

#[test]
fn output_ends_at_its_limit() {
    let many = "{% for a in range(2000) %}0123456789{% endfor %}";
    assert_eq!(render(many).expect_err("refused").kind, limit("bytes of output", 10_000));
    assert_eq!(outcome("{{ 'x' * 20000 }}"), "limit");
    assert_eq!(outcome("{{ 'x' * 9000 }}"), "none");
    assert_eq!(outcome("{{ [1] | tojson(indent=1000000000) }}"), "failed");
}

#[test]
fn attributes_of_python_objects_do_not_exist() {
    for source in [
        "{{ ''.__class__.__mro__ }}",
        "{{ messages.__class__.__base__.__subclasses__() }}",
        "{{ messages[0].__init__.__globals__ }}",
        "{{ raise_exception.__globals__['os'] }}",
        "{{ cycler.__init__.__globals__.os.popen('id').read() }}",
        "{{ ''.__class__() }}",
        "{% include '/etc/passwd' %}",
        "{% import 'os' as os %}{{ os.x() }}",
    ] {
        assert_eq!(outcome(source), "failed", "{source}");
    }
}

#[test]
fn errors_carry_the_line_and_the_templates_own_words() {
    let raised = render("line one\n{% if true %}\n{{ raise_exception('Roles must alternate') }}{% endif %}");
    let expected = Error { kind: ErrorKind::Raised("Roles must alternate".to_owned()), line: 3 };
    assert_eq!(raised, Err(expected));
    assert_eq!(render("{{ a }}\n{{ b.c.d }}").expect_err("undefined").to_string(), "line 2: 'b' is undefined");
    let broken = render("ok\n\n{% for %}").expect_err("no loop");
    assert!(matches!(broken, Error { kind: ErrorKind::Syntax(_), line: 3 }), "{broken}");
}

#[test]
fn rejects_broken_and_bottomless_templates() {
    let blocks = "{% if 1 %}".repeat(20_000);
    let chain = format!("{{% if 0 %}}{}{{% endif %}}", "{% elif 0 %}".repeat(20_000));
    let expressions =
        ["(", "[", "not ", "-", "a.", "a+", "1 if ", "a|", "{'a':", "f(", "a or ", "a and ", "a is defined and "];
    let deep = expressions.map(|part| format!("{{{{ {}1 }}}}", part.repeat(20_000)));
    let plain = ["{% if %}", "{{", "{% endif %}", "{{ 1 + }}", "{% unknown_tag %}"].map(str::to_owned);
    for source in deep.iter().chain(&plain).chain([&blocks]) {
        let start: String = source.chars().take(30).collect();
        assert_eq!(outcome(source), "syntax", "{start}");
    }
    // These are long but not deep.
    assert_eq!(outcome(&chain), "none");
    assert_eq!(outcome(&format!("{{{{ 1{} }}}}", " == 1".repeat(5000))), "none");
    assert_eq!(outcome(&format!("{{{{ 1{} }}}}", " ~ 1".repeat(5000))), "none");
    // Text is not an expression.
    assert_eq!(outcome(&"((((".repeat(2000)), "none");
    assert_eq!(outcome(&format!("{{{{ '{}' }}}}", "+(.".repeat(2000))), "none");
}

/// Returns the resource that a template exhausts.
fn exhausted(source: &str) -> &'static str {
    exhausted_within(source, Limits::default())
}

fn exhausted_within(source: &str, limits: Limits) -> &'static str {
    match render_message(source, limits).expect_err("refused").kind {
        ErrorKind::Limit { resource, .. } => resource,
        ErrorKind::Failed(message) if message.contains("holds more than") => "weight",
        ErrorKind::Failed(message) if message.contains("nested deeper") => "depth",
        other => panic!("{source}: {other:?}"),
    }
}

#[test]
fn fields_and_fractions_are_as_long_as_can_be_written_or_refused() {
    let render = |source: &str| render_message(source, Limits::default()).map(|rendered| rendered.text);
    for kind in ["e", "f", "g", "F", "E", "G"] {
        let written = render(&format!("{{{{ '%#.10000{kind}' | format(0.00015) }}}}")).expect("written");
        assert!(written.len() > 10_000, "{kind}: {}", written.len());
        for source in [
            format!("{{{{ '%.66666{kind}' | format(1.5) }}}}"),
            format!("{{{{ '%.*{kind}' % (66666, 1.5) }}}}"),
            format!("{{{{ '{{:.66666{kind}}}'.format(1.5) }}}}"),
        ] {
            let refused = render(&source).expect_err("refused");
            assert!(matches!(refused.kind, ErrorKind::Failed(_)), "{source}: {refused:?}");
        }
    }
}

/// Repeats a statement 60 times after another.
fn doubled(first: &str, again: &str) -> String {
    format!("{first}{}", again.repeat(60))
}

#[test]
fn values_that_double_run_out_of_bytes() {
    for source in [
        doubled("{% set x = 'ab' %}", "{% set x = x ~ x %}"),
        doubled("{% set x = 'ab' %}", "{% set x = x + x %}"),
        doubled("{% set x = 'ab' %}", "{% set x = x * 1000 %}"),
        doubled("{% set x = 'ab' %}", "{% set x = '%s%s' % (x, x) %}"),
        doubled("{% set x = 'ab' %}", "{% set x = '{0}{0}'.format(x) %}"),
        doubled("{% set x = 'ab' %}", "{% set x = x.replace('a', x) %}"),
        doubled("{% set x = 'ab' %}", "{% set x = x | replace('b', x) %}"),
        doubled("{% set x = 'ab' %}", "{% set x = [x, x] | join %}"),
        doubled("{% set x = 'ab' %}", "{% set x = x.join([x, x]) %}"),
        doubled("{% set x = 'ab' %}", "{% set y %}{{ x }}{{ x }}{% endset %}{% set x = y %}"),
        doubled("{% set x = 'ab' %}", "{% set x = x.center(1000000000) %}"),
        doubled("{% set x = [1] %}", "{% set x = x + x %}"),
        doubled("{% set x = 'a\n' * 1000 %}", "{% set x = x | indent(1000) %}"),
        doubled("{% macro m(x) %}{{ x }}{{ x }}{% endmacro %}{% set x = 'ab' %}", "{% set x = m(x) %}"),
        "{% for a in range(99999) %}{% set ns = namespace(x=[1] * 10000) %}{% endfor %}".to_owned(),
        "{% set x = 'ab' * 10000000000000 %}".to_owned(),
        "{{ '' | indent(9999999999) }}".to_owned(),
    ] {
        let limits = Limits { touched_bytes: 8 << 20, ..Limits::default() };
        assert!(
            ["bytes touched", "bytes in one value", "weight"].contains(&exhausted_within(&source, limits)),
            "{source}"
        );
    }
    for source in [
        doubled("{% set x = [1] %}", "{% set x = [x, x] %}"),
        doubled("{% set x = (1,) %}", "{% set x = (x, x) %}") + "{{ {x: 1} }}",
        doubled("{% set x = {} %}", "{% set x = {'a': x, 'b': x} %}"),
        doubled("{% set x = 1 %}", "{% set x = dict(a=x, b=x) %}"),
    ] {
        assert_eq!(exhausted(&source), "weight", "{source}");
    }
}

#[test]
fn long_work_inside_one_operation_is_counted() {
    for work in [
        "{% set _ = x in y %}",
        "{% set _ = x == y %}",
        "{% set _ = x < y %}",
        "{% set _ = y | length %}",
        "{% set _ = y.count('b') %}",
        "{% set _ = y.strip() %}",
        "{% set _ = y[-1] %}",
        "{% set _ = y is upper %}",
        "{% set _ = z.index(5) %}",
        "{% set _ = z | sum %}",
        "{% set _ = z | tojson %}",
        "{% set _ = z | sort | first %}",
        "{% set _ = z | select('gt', 5) | list %}",
    ] {
        let source = format!(
            "{{% set x = 'a' * 1000000 %}}{{% set y = 'a' * 1000000 + 'b' %}}{{% set z = range(9999) | list + [5] %}}\
             {{% for i in range(99999) %}}{{% for j in range(99999) %}}{work}{{% endfor %}}{{% endfor %}}"
        );
        let limits = Limits { touched_bytes: 50_000 * 64, ..Limits::default() };
        assert_eq!(exhausted_within(&source, limits), "bytes touched", "{work}");
    }
}

#[test]
fn recursion_ends_at_its_limit() {
    for source in [
        "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}",
        "{% macro a() %}{{ b() }}{% endmacro %}{% macro b() %}{{ a() }}{% endmacro %}{{ a() }}",
        "{% macro m() %}{% call m() %}{{ caller() }}{% endcall %}{{ caller }}{% endmacro %}{% call m() %}{% endcall %}",
        "{% for i in [1] recursive %}{{ loop([1]) }}{% endfor %}",
        "{% macro m(f) %}{{ f(f) }}{% endmacro %}{{ m(m) }}",
    ] {
        assert_eq!(exhausted(source), "nested levels", "{source}");
    }
    let deep = "{% set ns = namespace(x=[]) %}{% for i in range(9999) %}{% set ns.x = [ns.x] %}{% endfor %}";
    assert_eq!(exhausted(deep), "depth");
}

#[test]
fn values_that_hold_themselves_or_long_chains_are_freed() {
    let render = |source: &str| render_message(source, Limits::default()).map(|rendered| rendered.text);
    let own =
        "{% set ns = namespace() %}{% set ns.x = ns %}{% macro m() %}{% endmacro %}{% set ns.m = m %}{{ ns.x == ns }}";
    assert_eq!(render(own).expect("renders"), "True");
    // Printing it would not end.
    assert!(matches!(render(&format!("{own}{{{{ ns }}}}")).expect_err("refused").kind, ErrorKind::Failed(_)));
    let chain = "{% set holder = namespace(last=namespace()) %}{% for i in range(60000) %}{% set new = namespace() %}\
                 {% set last = holder.last %}{% set last.next = new %}{% set holder.last = new %}{% endfor %}ok";
    assert_eq!(render(chain).expect("renders"), "ok");
    let macros = "{% set ns = namespace(m=none) %}{% for i in range(60000) %}{% set before = ns.m %}\
                  {% macro m() %}{{ before }}{% endmacro %}{% set ns.m = m %}{% endfor %}ok";
    assert_eq!(render(macros).expect("renders"), "ok");
}

#[test]
fn long_chains_of_loops_and_joiners_are_freed() {
    let render = |source: &str| render_message(source, Limits::default()).map(|rendered| rendered.text);
    for link in [
        "{% set ns.last = joiner(ns.last) %}",
        "{% for j in [1] %}{% set _ = loop.changed(ns.last) %}{% set ns.last = loop %}{% endfor %}",
        "{% set before = ns.last %}{% for j in [1] recursive %}{% set ns.last = loop %}{% endfor %}",
        "{% for j in [1] %}{% set _ = loop.changed(ns.last) %}{% set ns.last = joiner(loop) %}{% endfor %}",
        "{% for j in [1] %}{% set _ = loop.changed(loop) %}{% endfor %}",
    ] {
        let source = format!(
            "{{% set ns = namespace(last='') %}}{{% for i in range(40000) %}}{link}{{% endfor %}}ok{{% set ns.last = 1 %}}"
        );
        assert_eq!(render(&source).expect(link), "ok", "{link}");
    }
    // These nest like lists.
    for link in
        ["cycler(ns.last)", "cycler(ns.last).next", "[ns.last]", "{'a': ns.last}", "(ns.last,)", "{(ns.last,): 1}"]
    {
        let source = format!(
            "{{% set ns = namespace(last='') %}}{{% for i in range(40000) %}}{{% set ns.last = {link} %}}{{% endfor %}}ok"
        );
        let refused = render(&source);
        assert!(refused.is_err() || link.ends_with(".next"), "{link}: {refused:?}");
    }
}

#[test]
fn sorting_without_an_order_is_no_panic() {
    let mut state = 7_u64;
    let mut random = move |below: u64| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (state >> 33) % below
    };
    for _ in 0..50 {
        let number = |n: u64| if n.is_multiple_of(3) { "nan".to_owned() } else { n.to_string() };
        let numbers: Vec<String> = (0..50).map(|_| number(random(999))).collect();
        let sorted = format!("{{{{ '{}'.split() | map('float') | sort | length }}}}", numbers.join(" "));
        assert_eq!(render(&sorted).expect("sorted"), "50");
        let mixed = |n: u64| if n.is_multiple_of(3) { "'a'".to_owned() } else { n.to_string() };
        let values: Vec<String> = (0..50).map(|_| mixed(random(999))).collect();
        assert_eq!(outcome(&format!("{{{{ [{}] | sort }}}}", values.join(", "))), "failed");
    }
    let mixed =
        "{% set nan = 'nan' | float %}{% set many = ([3, nan, 1, 9007199254740993, 9007199254740992.0] * 99) %}";
    for (work, expected) in [
        ("{{ many | sort | length }}", "495"),
        ("{{ many | sort(reverse=true) | length }}", "495"),
        ("{{ many | unique | list | length > 3 }}", "True"),
        ("{{ many | groupby(attribute='x', default=nan) | length }}", "495"),
        ("{{ many | max is number }}{{ many | min is number }}", "TrueTrue"),
        ("{{ {nan: 1, 1.5: 2, 2: 3} | dictsort | length }}{{ {nan: 1} | tojson(sort_keys=true) }}", "3{\"NaN\": 1}"),
    ] {
        assert_eq!(render(&format!("{mixed}{work}")).expect(work), expected, "{work}");
    }
    for work in
        ["([1, 'a', none] * 50) | sort", "([[1], [none]] * 50) | sort", "{1: 1, 'a': 2} | dictsort", "[{}, 1] | max"]
    {
        let message = render(&format!("{{{{ {work} }}}}")).expect_err(work).to_string();
        assert!(message.contains("not supported between"), "{message}");
    }
}

#[test]
fn lists_and_dictionaries_cannot_be_changed() {
    for source in ["{{ messages.append(1) }}", "{{ messages[0].update(a=1) }}", "{{ messages[0].pop('role') }}"] {
        let message = render(source).expect_err(source).to_string();
        assert!(message.contains("is unsafe"), "{message}");
    }
}

#[test]
fn no_source_makes_the_parser_panic() {
    let pieces = [
        "{{", "}}", "{%", "%}", "{#", "#}", "-", "+", "'", "\"", "\\", "a", " ", "\n", "(", ")", "[", "]", "|", ".",
        "for", "in", "if", "set", "=", "1", "é", "{", "}", "raw", "endraw", ",", "is", "not", "~", "*",
    ];
    let mut state = 88_172_645_463_325_252_u64;
    for _ in 0..20_000 {
        let mut source = String::new();
        for _ in 0..12 {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            source.push_str(pieces[(state % pieces.len() as u64) as usize]);
        }
        let _ = render(&source);
    }
}
