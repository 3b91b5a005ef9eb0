//! Private data: what an upstream gets is searched for seeded values in every encoding, and the answer has them back.

use base64::Engine;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use percent_encoding::{NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use serde_json::{Value, json};
use unicode_normalization_alignments::UnicodeNormalization;

use super::upstream::{Act, Upstream};
use super::{CHAT, WORDS, file, last, start, start_with};
use crate::common::runtime;

/// The seeded values, one for each position of a request.
const SEEDS: [&str; 11] = [
    "ottilie.brandvold@kelterborn-mail.de",
    "4539 1488 0343 6467",
    "DE89 3704 0044 0532 0130 00",
    "536-22-8145",
    "+49 30 901820",
    "GB82WEST12345698765432",
    "192.0.43.77",
    "marek.zelenka@postfach-nord.eu",
    "5425 2334 3010 9903",
    "https://intern.brandvold-holding.de/akte/7781",
    "rosalind.achterberg@familie-achterberg.nl",
];

/// Returns a request of an API with a seed at each of eleven positions.
fn seeded(path: &str) -> Value {
    let s = SEEDS;
    let arguments = json!({"mail": s[3], "note": "urgent"}).to_string();
    let schema =
        json!({"type": "object", "properties": {"to": {"type": "string", "description": format!("like {}", s[7])}}});
    let metadata = json!({"contact": s[8]});
    let about = format!("Mails people such as {}", s[6]);
    match path {
        CHAT => json!({
            "messages": [
                {"role": "system", "content": format!("You write for {}.", s[0])},
                {"role": "user", "content": format!("My card is {}.", s[1]), "name": "ann"},
                {"role": "assistant", "content": format!("I noted the account {}.", s[2]), "tool_calls": [
                    {"id": "call_a", "type": "function", "function": {"name": "mail", "arguments": arguments}}]},
                {"role": "tool", "tool_call_id": "call_a", "content": json!({"phone": s[4]}).to_string()},
                {"role": "user", "content": [{"type": "text", "text": format!("Use the account {}", s[5])}]},
                {"role": "user", "content": format!("| link | mail |\n|---|---|\n| {} | {} |", s[9], s[10])},
            ],
            "tools": [{"type": "function", "function": {"name": "mail", "description": about, "parameters": schema}}],
            "metadata": metadata, "user": s[8],
        }),
        "/v1/responses" => json!({
            "instructions": format!("You write for {}.", s[0]),
            "input": [
                {"role": "user", "content": format!("My card is {}.", s[1])},
                {"role": "assistant", "content": format!("I noted the account {}.", s[2])},
                {"type": "function_call", "call_id": "call_a", "name": "mail", "arguments": arguments},
                {"type": "function_call_output", "call_id": "call_a", "output": json!({"phone": s[4]}).to_string()},
                {"role": "user", "content": [{"type": "input_text", "text": format!("Use the account {}", s[5])}]},
                {"role": "user", "content": format!("| link | mail |\n|---|---|\n| {} | {} |", s[9], s[10])},
            ],
            "tools": [{"type": "function", "name": "mail", "description": about, "parameters": schema}],
            "metadata": metadata, "user": s[8],
        }),
        _ => json!({
            "system": format!("You write for {}.", s[0]),
            "messages": [
                {"role": "user", "content": format!("My card is {}.", s[1])},
                {"role": "assistant", "content": [{"type": "text", "text": format!("I noted the account {}.", s[2])},
                    {"type": "tool_use", "id": "call_a", "name": "mail", "input": {"mail": s[3], "note": "urgent"}}]},
                {"role": "user", "content": [
                    {"type": "tool_result", "tool_use_id": "call_a", "content": json!({"phone": s[4]}).to_string()},
                    {"type": "text", "text": format!("Use the account {}", s[5])},
                    {"type": "text", "text": format!("| link | mail |\n|---|---|\n| {} | {} |", s[9], s[10])}]},
            ],
            "tools": [{"name": "mail", "description": about, "input_schema": schema}],
            "metadata": {"user_id": s[8]}, "max_tokens": 100,
        }),
    }
}

/// Returns the seeds that bytes hold in any encoding.
fn found_in(bytes: &[u8], seeds: &[&str]) -> Vec<String> {
    let plain = String::from_utf8_lossy(bytes).into_owned();
    let unescaped = |text: &str| {
        let json = serde_json::from_str::<Value>(&format!("\"{}\"", text.replace('"', "")));
        json.ok().and_then(|value| value.as_str().map(str::to_owned)).unwrap_or_default()
    };
    let strings = plain.split('"').map(unescaped).collect::<Vec<_>>().join("\n");
    let decoded = percent_decode_str(&plain).decode_utf8_lossy().into_owned();
    let simple = |text: &str| -> String {
        let letters = text.nfkc().map(|(c, _)| c).flat_map(char::to_lowercase);
        letters.filter(|c| c.is_alphanumeric()).collect()
    };
    let views: Vec<String> = [&plain, &strings, &decoded].into_iter().map(|text| simple(text)).collect();
    let has = |seed: &&&str| {
        let own = simple(seed);
        // A text at each of the three places in a group of base64, without the characters that its neighbours change.
        let base64 = (0..3).any(|shift| {
            let text = format!("{}{seed}", "x".repeat(shift));
            [STANDARD_NO_PAD.encode(&text), URL_SAFE_NO_PAD.encode(&text)].iter().any(|code| {
                let inner = &code[4..code.len() - 4];
                plain.contains(inner)
            })
        });
        base64 || views.iter().any(|view| view.contains(&own))
    };
    seeds.iter().filter(has).map(|seed| (*seed).to_owned()).collect()
}

#[test]
fn the_recorder_finds_every_encoding() {
    let seed = SEEDS[0];
    let escaped: String = seed.chars().map(|c| format!("\\u{:04x}", c as u32)).collect();
    let invisible: String = seed.chars().flat_map(|c| [c, '\u{200b}']).collect();
    let wide: String = seed
        .chars()
        .map(|c| if c.is_ascii_graphic() { char::from_u32(c as u32 + 0xfee0).unwrap() } else { c })
        .collect();
    for text in [
        seed.to_owned(),
        seed.to_uppercase(),
        format!("{{\"a\": \"{escaped}\"}}"),
        invisible,
        wide,
        utf8_percent_encode(seed, NON_ALPHANUMERIC).to_string(),
        STANDARD_NO_PAD.encode(format!("a mail to {seed} today")),
        URL_SAFE_NO_PAD.encode(format!("to {seed}")),
    ] {
        assert_eq!(found_in(text.as_bytes(), &SEEDS), [seed], "{text}");
    }
    assert!(found_in(b"{\"a\": \"nothing here\"}", &SEEDS).is_empty());
}

#[test]
fn no_seed_leaves_at_any_position() {
    for api in ["openai", "anthropic"] {
        for mode in ["surrogate", "mask", "block"] {
            let upstream = Upstream::start(&WORDS, |_, _| Act::Answer);
            let text =
                file(&format!("policy = \"cloud-first\"\nreplacement = \"{mode}\""), &[(upstream.port, api, "")]);
            let hybrid = start(&text);
            for path in [CHAT, "/v1/responses", "/v1/messages"] {
                let (status, headers, answer) = hybrid.ask(path, &[], &seeded(path));
                assert_eq!(status, 200, "{answer}");
                let about = &answer["honelm"];
                let replaced: u64 = about["replaced"].as_object().unwrap().values().filter_map(Value::as_u64).sum();
                if mode == "block" {
                    assert_eq!(
                        (&about["route"], &about["reason"]),
                        (&json!("local"), &json!("not-masked")),
                        "{answer}"
                    );
                } else {
                    assert!(about["route"] == "cloud" && replaced >= 10, "{api} {mode} {path}: {about}");
                }
                let headers = format!("{headers:?}{about}");
                assert_eq!(found_in(headers.as_bytes(), &SEEDS), [""; 0], "the response's own words");
            }
            for request in upstream.received() {
                assert_eq!(found_in(&request.bytes, &SEEDS), [""; 0], "{api} {mode}: {}", request.body);
            }
            assert_eq!(upstream.received().len(), if mode == "block" { 0 } else { 3 });
            let metrics = runtime().block_on(async {
                let client = hybrid.server.client();
                let response = client.send(hyper::Method::GET, "/metrics", None).await.unwrap();
                http_body_util::BodyExt::collect(response.into_body()).await.unwrap().to_bytes()
            });
            let records = format!("{:?}{:?}", hybrid.records(), hybrid.server.get("/status.json").1);
            assert_eq!(found_in(&metrics, &SEEDS), [""; 0]);
            assert_eq!(found_in(records.as_bytes(), &SEEDS), [""; 0]);
        }
    }
}

#[test]
fn disguised_seeds_do_not_leave() {
    let mail = SEEDS[0];
    let disguised = [
        mail.replace('@', "%40"),
        mail.replace('@', "\\u0040"),
        mail.chars().flat_map(|c| [c, '\u{200b}']).collect(),
        "\u{ff14}539 1488 0343 6467".to_owned(),
        json!({"deep": [{"mail": mail}]}).to_string(),
    ];
    let upstream = Upstream::start(&WORDS, |_, _| Act::Answer);
    let hybrid = start(&file("policy = \"cloud-first\"", &[(upstream.port, "openai", "")]));
    for text in disguised {
        let body = json!({"messages": [{"role": "user", "content": format!("Write to: {text}")}]});
        assert_eq!(hybrid.chat("cloud-first", body).1["route"], "cloud");
        assert_eq!(found_in(&upstream.received().last().unwrap().bytes, &SEEDS), [""; 0], "{text}");
    }
}

#[test]
fn answers_have_the_values_back_however_they_are_cut() {
    let text = "Dear Ottilie Brandvold, we write to ottilie.brandvold@kelterborn-mail.de about the SSN 536-22-8145.";
    for api in ["openai", "anthropic"] {
        for size in [1, 2, 3, 7, 1000] {
            // Says what it was told.
            let upstream = Upstream::start(&[], move |_, request| {
                let content = &request.body["messages"][0]["content"];
                let said = content.as_str().or(content[0]["text"].as_str()).unwrap().to_owned();
                Act::Text(said, size)
            });
            let hybrid = start(&file("policy = \"cloud-first\"", &[(upstream.port, api, "")]));
            let body = json!({"messages": [{"role": "user", "content": text}]});
            let (answer, about) = hybrid.chat("cloud-first", body.clone());
            assert_eq!(answer, text, "{api} {size}");
            let kinds = about["replaced"].as_object().unwrap();
            assert!(kinds.contains_key("EMAIL_ADDRESS") && kinds.contains_key("US_SSN"), "{about}");
            assert!(found_in(&upstream.received()[0].bytes, &[SEEDS[0], SEEDS[3], "Brandvold"]).is_empty());
            let mut streamed = body;
            streamed["stream"] = json!(true);
            let (_, _, events) = runtime().block_on(hybrid.send(CHAT, &[], &streamed));
            assert_eq!(super::read(CHAT, &events).0, text, "{api} {size}: {events}");
        }
    }
}

#[test]
fn calls_have_the_values_back_as_json() {
    let mail = "ottilie.brandvold@kelterborn-mail.de";
    for api in ["openai", "anthropic"] {
        let upstream = Upstream::start(&["Sending."], |_, request| {
            let content = &request.body["messages"][0]["content"];
            let said = content.as_str().or(content[0]["text"].as_str()).unwrap();
            Act::Call(json!({"to": said.rsplit(' ').next(), "days": 2}))
        });
        let hybrid = start(&file("policy = \"cloud-first\"", &[(upstream.port, api, "")]));
        let tools = json!([{"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}]);
        let body = json!({"messages": [{"role": "user", "content": format!("Write to {mail}")}], "tools": tools});
        let (status, _, answer) = hybrid.ask(CHAT, &[], &body);
        assert_eq!(status, 200, "{answer}");
        let call = &answer["choices"][0]["message"]["tool_calls"][0]["function"]["arguments"];
        let arguments: Value = serde_json::from_str(call.as_str().unwrap()).unwrap();
        assert_eq!(arguments, json!({"to": mail, "days": 2}));
    }
}

#[test]
fn a_replayed_history_has_the_same_surrogates() {
    let upstream = Upstream::start(&WORDS, |_, _| Act::Answer);
    let hybrid = start(&file("policy = \"cloud-first\"", &[(upstream.port, "openai", "")]));
    let first = json!({"role": "user", "content": format!("Write to {}", SEEDS[0])});
    hybrid.chat("cloud-first", json!({"messages": [first]}));
    let sent = last(&upstream)["messages"][0].clone();
    let answer = json!({"role": "assistant", "content": format!("I wrote to {}.", SEEDS[0])});
    let next = json!({"role": "user", "content": format!("And to {}", SEEDS[7])});
    hybrid.chat("cloud-first", json!({"messages": [first, answer, next]}));
    let again = last(&upstream)["messages"].clone();
    assert_eq!(again[0], sent);
    let surrogate = sent["content"].as_str().unwrap().rsplit(' ').next().unwrap();
    assert_eq!(again[1]["content"], format!("I wrote to {surrogate}."));
}

#[test]
fn what_cannot_be_searched_stays() {
    let upstream = Upstream::start(&WORDS, |_, _| Act::Answer);
    let hybrid = start(&file("policy = \"cloud-first\"", &[(upstream.port, "openai", "")]));
    let nested = format!("{}{}", "[".repeat(126), "]".repeat(126));
    let body = json!({"messages": [{"role": "user", "content": nested}]});
    let (_, about) = hybrid.chat("cloud-first", body.clone());
    assert_eq!(
        (&about["route"], &about["reason"], &about["degraded"]),
        (&json!("local"), &json!("not-masked"), &json!(false))
    );
    assert!(upstream.received().is_empty());
    let open = start(&file("policy = \"cloud-first\"\nprivacy = \"open\"", &[(upstream.port, "openai", "")]));
    assert_eq!(open.chat("cloud-first", body).1["route"], "cloud", "the class of this gateway lets it leave");
}

#[test]
fn a_cut_within_a_surrogate_goes_on_with_the_value() {
    let mail = SEEDS[0];
    let sentence = format!("Write to {mail} today.");
    let upstream = Upstream::start(&[], |_, request| {
        let said = request.body["messages"][0]["content"].as_str().unwrap();
        let surrogate = said.strip_prefix("Write to ").unwrap().strip_suffix(" today.").unwrap();
        // Ends in the middle of the surrogate, without an end of the answer.
        Act::CutText(format!("Write to {}", &surrogate[..surrogate.len() / 2]))
    });
    let own = sentence.clone();
    let text = file("policy = \"cloud-first\"", &[(upstream.port, "openai", "")]) + "[retry]\nretries = 0\n";
    let hybrid = start_with(&text, move |_| own.clone());
    let body = json!({"messages": [{"role": "user", "content": sentence}]});
    let (answer, about) = hybrid.chat("cloud-first", body);
    assert_eq!((answer, &about["continued"]), (sentence, &json!(true)));
}
