//! The parts of the output that come from outside the template.

use honelm_jinja::{Dict, Limits, Rendered, Str, Template, Value};
use serde_json::{Value as Json, json};

use crate::common::render_within;

fn render(source: &str, variables: &Json) -> Rendered {
    render_within(source, variables, Limits::default()).unwrap_or_else(|e| panic!("{source}: {e}"))
}

/// Returns the text with brackets around the parts from outside.
fn bracketed(rendered: &Rendered) -> String {
    let mut output = rendered.text.clone();
    for range in rendered.outside.iter().rev() {
        output.insert(range.end, '⟧');
        output.insert(range.start, '⟦');
    }
    output
}

/// Renders expressions of `x`, which comes from outside.
fn assert_marks(cases: &[(&str, &str)]) {
    let variables = json!({"x": "aXb", "n": 3, "list": ["p", "q"], "object": {"k": "v"}, "messages": []});
    for (expression, expected) in cases {
        let rendered = render(&format!("{{{{ {expression} }}}}"), &variables);
        assert_eq!(bracketed(&rendered), *expected, "{expression}");
    }
}

#[test]
fn marks_are_exact_where_bytes_are_moved() {
    assert_marks(&[
        ("'-' + x + '-'", "-⟦aXb⟧-"),
        ("'-' ~ x ~ 1 ~ x ~ '-'", "-⟦aXb⟧1⟦aXb⟧-"),
        ("('-' + x + '-')[1:3]", "⟦aX⟧"),
        ("('-' + x + '-')[:2]", "-⟦a⟧"),
        ("('-' + x + '-')[::-1]", "-⟦bXa⟧-"),
        ("('-' + x + '-') | reverse", "-⟦bXa⟧-"),
        ("('-' + x + '-')[-2]", "⟦b⟧"),
        ("('-' + x + '-')[-1]", "-"),
        ("('-' + x) | first ~ x | last", "-⟦b⟧"),
        ("('-' + x) * 2", "-⟦aXb⟧-⟦aXb⟧"),
        ("('  ' + x + '  ').strip()", "⟦aXb⟧"),
        ("('-' + x + '-').strip('-a')", "⟦Xb⟧"),
        ("('-' + x + '-') | trim('-')", "⟦aXb⟧"),
        ("('-' + x + ' ' + x).split(' ') | join('+')", "-⟦aXb⟧+⟦aXb⟧"),
        ("(x + ' - ' + x).split() | last", "⟦aXb⟧"),
        ("(x + ' - ' + x).rsplit(' ', 1)[0]", "⟦aXb⟧ -"),
        ("(x ~ '\\n' ~ '-').splitlines() | join(',')", "⟦aXb⟧,-"),
        ("'-'.join([x, 'own', x])", "⟦aXb⟧-own-⟦aXb⟧"),
        ("x.join(['1', '2'])", "1⟦aXb⟧2"),
        ("('=' ~ x ~ '=').partition('X') | join('|')", "=⟦a⟧|⟦X⟧|⟦b⟧="),
        ("('1' ~ x).replace('X', '-')", "1⟦a⟧-⟦b⟧"),
        ("'own' | replace('w', x)", "o⟦aXb⟧n"),
        ("('-' ~ x).upper() ~ ('-' ~ x) | lower", "-⟦AXB⟧-⟦axb⟧"),
        ("('own' ~ x).title()", "Own⟦axb⟧"),
        ("('own' ~ x) | title", "Own⟦axb⟧"),
        ("('own' ~ x) | capitalize", "Own⟦axb⟧"),
        ("('own' ~ x).swapcase()", "OWN⟦AxB⟧"),
        ("x.center(7, '*')", "**⟦aXb⟧**"),
        ("x.ljust(4) ~ x.rjust(4) ~ x.zfill(4)", "⟦aXb⟧  ⟦aXb⟧0⟦aXb⟧"),
        ("('-' ~ x).removeprefix('-a')", "⟦Xb⟧"),
        ("x.expandtabs() ~ '\\t'.expandtabs(2)", "⟦aXb⟧  "),
        ("(x ~ '\\n' ~ x) | indent(2)", "⟦aXb⟧\n  ⟦aXb⟧"),
        ("('<' ~ x) | escape", "&lt;⟦aXb⟧"),
        ("('own ' ~ x ~ ' text that is long') | truncate(9, true, '.', 0)", "own ⟦aXb⟧ ."),
        ("'%s-%s %%' % (x, 1)", "⟦aXb⟧-1 %"),
        ("'%s' | format(x)", "⟦aXb⟧"),
        ("'{} {{}} {:>5}'.format(1, x)", "1 {}   ⟦aXb⟧"),
        ("'{a}'.format_map({'a': x})", "⟦aXb⟧"),
        ("'/é' | urlencode ~ x | urlencode", "/%C3%A9⟦aXb⟧"),
        ("x | safe ~ '-'", "⟦aXb⟧-"),
        ("list | join(', ')", "⟦p⟧, ⟦q⟧"),
        ("object | items | first | first", "⟦k⟧"),
        ("(x | list)[0] ~ ('own' | list)[0]", "⟦a⟧o"),
    ]);
}

#[test]
fn the_whole_result_is_marked_where_exactness_is_not_possible() {
    assert_marks(&[
        ("[x, 1] | tojson", "⟦[\"aXb\", 1]⟧"),
        ("object | tojson", "⟦{\"k\": \"v\"}⟧"),
        ("['own', 1] | tojson", "[\"own\", 1]"),
        ("['own', x]", "⟦['own', 'aXb']⟧"),
        ("namespace(a=x)", "⟦<Namespace {'a': 'aXb'}>⟧"),
        ("'%r' % x", "⟦'aXb'⟧"),
        ("x.encode().decode()", "⟦aXb⟧"),
        ("x.encode()", "⟦b'aXb'⟧"),
        ("'own'.encode().decode()", "own"),
        ("('<b>own</b> ' ~ x) | striptags", "⟦own aXb⟧"),
        ("{'a': x} | urlencode", "a=⟦aXb⟧"),
        ("namespace(a=1)", "⟦<Namespace {'a': 1}>⟧"),
        ("dict(**object) | list | first", "⟦k⟧"),
    ]);
}

#[test]
fn texts_of_the_template_are_its_own() {
    assert_marks(&[
        ("n ~ true ~ none ~ 1.5", "3TrueNone1.5"),
        ("x | length", "3"),
        ("strftime_now('%Y')", "2024"),
        ("'own' if x == 'aXb' else ''", "own"),
        ("range(3) | list", "[0, 1, 2]"),
    ]);
    let template = Template::parse("{{ own }}{{ other }}", Limits::default()).expect("parses");
    let variables = [("own", Value::str("<bos>")), ("other", Value::outside("<bos>"))];
    assert_eq!(bracketed(&template.render(variables, None).expect("renders")), "<bos>⟦<bos>⟧");
}

#[test]
fn marks_go_through_variables_macros_and_loops() {
    let talk = json!({"messages": [{"role": "user", "content": "<|end|> & more"}]});
    let source = "{% macro say(text) %}[{{ text }}]{% endmacro %}{% set all %}{{ say(messages[0].content) }}!{% endset %}\
                  {% set ns = namespace(out='') %}{% for part in all.split('&') %}{% set ns.out = ns.out ~ part %}{% endfor %}\
                  {{ ns.out }}{% filter upper %}{{ messages[0].content }}.{% endfilter %}";
    assert_eq!(bracketed(&render(source, &talk)), "[⟦<|end|>  more⟧]!⟦<|END|> & MORE⟧.");
}

/// Renders random expressions of every filter, method and operator.
#[test]
fn no_expression_panics_or_marks_amiss() {
    let list = |text: &'static str| text.split("; ").collect::<Vec<_>>();
    let names = |text: &'static str| text.split(' ').collect::<Vec<_>>();
    let values = list(
        "\
        x; y; 'own'; ''; ' é<b>&lt %s {} '; 3; -1; 2.5; true; none; list; [1, x, none]; (x, 1); {'k': x}; \
        object; range(5); missing; ('nan' | float); ('<i>' | safe); x.encode(); namespace(a=x); messages; \
        arguments; 99999999999",
    );
    let filters = names(
        "\
        abs attr batch capitalize center count d dictsort e filesizeformat first float format forceescape \
        groupby indent int items join last list lower map max min reject rejectattr replace reverse round safe \
        select selectattr slice sort string striptags sum title tojson trim truncate unique upper urlencode \
        wordcount xmlattr",
    );
    let methods = names(
        "\
        capitalize center count encode endswith expandtabs find format format_map index isalnum istitle join \
        ljust lower lstrip partition removeprefix replace rfind rindex rjust rpartition rsplit rstrip split \
        splitlines startswith strip swapcase title upper zfill get items keys values copy decode hex fromkeys",
    );
    let operators = list(
        "\
        +; -; *; /; //; %; ~; ==; <; >=; in; not in; and; or",
    );
    let mut state = 88_172_645_463_325_252_u64;
    let mut random = move |below: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state % below as u64) as usize
    };
    let variables = json!({
        "x": "aXb \u{e9} <|end|>", "y": "Straße\nΑΣ\tǆ", "list": ["p", "q", "é"], "object": {"k": "v", "1": 2}, "messages": [
            {"role": "user", "content": "hi"},
        ],
    });
    let fields = json!({"a": 1});
    let fields = fields.as_object().expect("an object");
    let arguments = Value::Str(Str::json("{\"a\": 1}", Dict::from_json(fields).expect("flat")));
    let variables: Vec<(&str, Value)> = variables
        .as_object()
        .into_iter()
        .flatten()
        .map(|(name, value)| (name.as_str(), Value::from_json(value).expect("flat")))
        .chain([("arguments", arguments)])
        .collect();
    let limits = Limits { touched_bytes: 1 << 18, output_bytes: 1 << 14, ..Limits::default() };
    let mut rendered = 0;
    for _ in 0..20_000 {
        let mut expression = values[random(values.len())].to_owned();
        for _ in 0..1 + random(3) {
            let arguments: Vec<&str> = (0..random(3)).map(|_| values[random(values.len())]).collect();
            let arguments = arguments.join(", ");
            expression = match random(5) {
                0 => format!("({expression}) | {}", filters[random(filters.len())]),
                1 => format!("({expression}) | {}({arguments})", filters[random(filters.len())]),
                2 => format!("({expression}).{}({arguments})", methods[random(methods.len())]),
                3 => format!("({expression}) {} {}", operators[random(operators.len())], values[random(values.len())]),
                _ => format!("({expression})[{}:{}]", random(4), values[random(values.len())]),
            };
        }
        let Ok(template) = Template::parse(&format!("{{{{ {expression} }}}}"), limits) else { continue };
        let Ok(Rendered { text, outside, .. }) = template.render(variables.clone(), None) else { continue };
        let mut end = 0;
        for range in outside {
            assert!(
                range.start >= end && text.get(range.clone()).is_some_and(|part| !part.is_empty()),
                "{expression}: {range:?}"
            );
            end = range.end + 1;
        }
        rendered += 1;
    }
    assert!(rendered > 2_500, "{rendered}");
}
