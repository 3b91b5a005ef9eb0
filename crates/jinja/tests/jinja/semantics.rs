//! The results of templates, compared with Jinja2 and Python.

use honelm_jinja::Limits;
use serde_json::{Value as Json, json};

use crate::common::{render_within, rendered};

#[test]
fn white_space_is_trimmed_as_transformers_does() {
    assert_eq!(rendered("a\n  {% if true %}\nb\n  {% endif %}\nc\n"), "a\nb\nc");
    assert_eq!(rendered("{% for m in messages %}\n{{ m.content }}\n{% endfor %}\n"), "hi\n");
}

#[test]
fn tojson_is_json_dumps() {
    // python3: json.dumps(x, ensure_ascii=False, ...)
    let x = json!({"x": {"b": "é\n\"<&>\u{7f}", "a": [1, 2.0, true, null, {}, []], "10": 1e-7}});
    let cases = [
        ("{{ x | tojson }}", "{\"b\": \"é\\n\\\"<&>\u{7f}\", \"a\": [1, 2.0, true, null, {}, []], \"10\": 1e-07}"),
        (
            "{{ x | tojson(sort_keys=true, separators=(',', ':')) }}",
            "{\"10\":1e-07,\"a\":[1,2.0,true,null,{},[]],\"b\":\"é\\n\\\"<&>\u{7f}\"}",
        ),
        ("{{ x.a | tojson(indent=2) }}", "[\n  1,\n  2.0,\n  true,\n  null,\n  {},\n  []\n]"),
        ("{{ x.b | tojson(ensure_ascii=true) }}", "\"\\u00e9\\n\\\"<&>\\u007f\""),
        ("{{ {'k': {'l': 1}} | tojson(indent='-') }}", "{\n-\"k\": {\n--\"l\": 1\n-}\n}"),
    ];
    for (source, expected) in cases {
        assert_eq!(render_within(source, &x, Limits::default()).expect("renders").text, expected, "{source}");
    }
    assert!(render_within("{{ nothing | tojson }}", &x, Limits::default()).is_err());
}

#[test]
fn the_generation_tag_renders_its_contents() {
    assert_eq!(rendered("a{% generation %}b{% endgeneration %}c"), "abc");
}

#[test]
fn loop_controls_and_python_methods_work() {
    assert_eq!(
        rendered(
            "{% for i in range(9) %}{% if i == 2 %}{% continue %}{% endif %}{% if i == 4 %}{% break %}{% endif %}{{ i }}{% endfor %}"
        ),
        "013"
    );
    assert_eq!(rendered("{{ ' a,b '.strip().split(',')[-1].upper() }}{{ messages[0].get('x', 'y') }}"), "By");
    assert_eq!(
        rendered("{{ true }} {{ none }} {{ 1.0 }} {{ ['a', 1] }} {{ {'a': none} }}"),
        "True None 1.0 ['a', 1] {'a': None}"
    );
}

#[test]
fn small_templates_do_what_jinja2_does() {
    let table: Json = serde_json::from_str(include_str!("../data/jinja_semantics.json")).expect("JSON");
    let mut variables = table["variables"].clone();
    variables["messages"] = json!([]);
    let mut wrong = Vec::new();
    for case in table["cases"].as_array().expect("cases") {
        let source = case[0].as_str().expect("a template");
        let rendered = render_within(source, &variables, Limits::default());
        match (&rendered, case[1].as_str()) {
            (Ok(rendered), Some(expected)) if rendered.text == expected => {}
            (Err(_), None) => {}
            (found, expected) => wrong.push(format!("{source}\n  expected {expected:?}\n  found {found:?}")),
        }
    }
    assert!(wrong.is_empty(), "{} differ:\n{}", wrong.len(), wrong.join("\n"));
}
