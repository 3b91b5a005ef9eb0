//! Turning surrogates back: in pieces, in other forms, in JSON, and nothing else.

use honelm_gateway::pii::{Mode, Redactor, Restorer, Vault};
use serde_json::{Value, json};

use crate::detector;

const TEXT: &str = "Contact Katarzyna Nowak (kn@example.org, card 4111 1111 1111 1111, +49 30 901820) in Berlin.";

/// Returns the redacted text and what restores it.
fn redacted(text: &str) -> (String, Restorer) {
    let detector = detector();
    let mut redactor = Redactor::new(&detector, Mode::Surrogate, Vault::new([3; 32]));
    let out = redactor.text(text).expect("a redaction");
    (out, redactor.vault().restorer())
}

/// The surrogate of the name in [`TEXT`].
fn name(redacted: &str) -> &str {
    redacted.strip_prefix("Contact ").and_then(|rest| rest.split(" (").next()).expect("a name")
}

#[test]
fn an_answer_cut_anywhere_is_restored() {
    let (out, restorer) = redacted(TEXT);
    for value in ["Katarzyna", "Nowak", "kn@example.org", "4111 1111 1111 1111", "901820", "Berlin"] {
        assert!(!out.contains(value), "{out}");
    }
    assert_eq!(restorer.text(&out), TEXT);
    let characters: Vec<char> = out.chars().collect();
    for size in 1..20 {
        let mut stream = restorer.fork();
        let mut answer: String =
            characters.chunks(size).map(|piece| stream.push(&piece.iter().collect::<String>())).collect();
        answer.push_str(&stream.finish());
        assert_eq!(answer, TEXT, "pieces of {size}");
    }
}

#[test]
fn what_cannot_be_a_surrogate_is_passed_on_at_once() {
    let (_, restorer) = redacted(TEXT);
    let mut stream = restorer.fork();
    assert_eq!(stream.push("What a fine "), "What a fine ");
    assert_eq!(stream.push("day, is it "), "day, is it ");
    assert_eq!(stream.finish(), "");
}

#[test]
fn case_endings_and_formatting_do_not_matter() {
    let (out, restorer) = redacted(TEXT);
    let name = name(&out).to_owned();
    let (first, last) = name.split_once(' ').expect("two words");
    let cases = [
        (format!("{name}'s card"), "Katarzyna Nowak's card".to_owned()),
        (format!("**{first}** {last}."), "Katarzyna Nowak.".to_owned()),
        (format!("{first}\n{last}"), "Katarzyna Nowak".to_owned()),
        (name.to_uppercase(), "KATARZYNA NOWAK".to_owned()),
        (format!("{} here", name.to_lowercase()), "Katarzyna Nowak here".to_owned()),
        (format!("Ask {last}s."), "Ask Nowaks.".to_owned()),
        (format!("[\"{first}\", \"{last}\"]"), "[\"Katarzyna\", \"Nowak\"]".to_owned()),
        (format!("{first}, {last}"), "Katarzyna, Nowak".to_owned()),
        (format!("Herr{last} und {name}x"), format!("Herr{last} und Katarzyna {last}x")),
    ];
    for (answer, expected) in cases {
        let restored = restorer.text(&answer);
        let plain = restored.replace("**", "");
        assert_eq!(plain, expected, "{answer}");
    }
    let card = out.split("card ").nth(1).and_then(|rest| rest.split(',').next()).expect("a card");
    assert_eq!(restorer.text(&card.replace(' ', "-")), "4111 1111 1111 1111");
    assert_eq!(restorer.text(&card.replace(' ', "")), "4111 1111 1111 1111");
}

#[test]
fn arguments_of_tool_calls_stay_json() {
    let text = "Book for Katarzyna \"Kasia\" Nowak at Müller & Söhne GmbH.";
    let detector = detector();
    let mut redactor = Redactor::new(&detector, Mode::Surrogate, Vault::new([3; 32]));
    let mut body =
        json!({ "messages": [{ "role": "user", "content": text }, { "role": "user", "content": "anna@example.org" }] });
    redactor.request(honelm_gateway::pii::Api::Chat, &mut body).expect("a request");
    let restorer = redactor.vault().restorer();
    let said = body["messages"][0]["content"].as_str().expect("a text");
    let mail = body["messages"][1]["content"].as_str().expect("a text");
    let name = said.strip_prefix("Book for ").and_then(|rest| rest.split(' ').next()).expect("a name");
    let arguments = json!({ "note": format!("line\n{name}\n{said}"), "to": [mail] }).to_string();
    let mut answer = json!({ "choices": [{ "message": { "tool_calls": [{
        "id": mail, "type": "function", "function": { "name": "book", "arguments": arguments } }] } }] });
    restorer.json(&mut answer);
    let call = &answer["choices"][0]["message"]["tool_calls"][0];
    assert_eq!(call["id"], mail, "ids stay");
    let restored: Value = serde_json::from_str(call["function"]["arguments"].as_str().expect("a text")).expect("JSON");
    assert_eq!(restored, json!({ "note": format!("line\nKatarzyna\n{text}"), "to": ["anna@example.org"] }));
    // The same in a stream of pieces.
    let mut stream = restorer.fork().escaping(1);
    let mut streamed: String = arguments.chars().map(|c| stream.push(&c.to_string())).collect();
    streamed.push_str(&stream.finish());
    assert_eq!(serde_json::from_str::<Value>(&streamed).expect("JSON"), restored);
}

#[test]
fn only_values_that_were_given_out_are_restored() {
    let (_, restorer) = redacted("Nothing private here.");
    assert_eq!(
        restorer.text("Ask Gobena Talur, <PERSON>, 4929 0000 0000 0000."),
        "Ask Gobena Talur, <PERSON>, 4929 0000 0000 0000."
    );
}
