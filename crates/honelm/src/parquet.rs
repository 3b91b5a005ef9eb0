//! Calibration texts in Parquet files.

use honelm_formats::parquet::{Parquet, ParquetError, Strings};
use serde_json::{Value, json};

use crate::documents::Document;

/// The most bytes of text that are read. A calibration uses less of it.
const MOST_TEXT: usize = 1 << 28;

/// Returns the documents of a file with a column `text` of strings or `messages` of lists of `role` and `content`, one per
/// row. Rows without a value are skipped.
///
/// # Errors
/// A sentence that says what is wrong, with the row where there is one.
pub(crate) fn documents(bytes: &[u8]) -> Result<Vec<Document>, String> {
    let said = |error: ParquetError| error.to_string();
    let file = Parquet::new(bytes).map_err(said)?;
    let column = |is_wanted: &dyn Fn(&[String]) -> bool| {
        let path = file.columns().find(|path| is_wanted(path));
        path.map(|path| file.strings(path, MOST_TEXT)).transpose().map_err(said)
    };
    let of_messages = |name: &'static str| {
        move |path: &[String]| {
            path.split_first().is_some_and(|(first, rest)| first == "messages" && rest.iter().any(|part| part == name))
        }
    };
    let texts = column(&|path| path.len() == 1 && path[0] == "text")?;
    let (roles, contents) = (column(&of_messages("role"))?, column(&of_messages("content"))?);
    if texts.is_none() && (roles.is_none() || contents.is_none()) {
        let found: Vec<String> = file.columns().map(|path| path.join(".")).collect();
        return Err(format!(
            "found the columns {}, expected `text` of strings or `messages` of lists with `role` and `content`",
            found.join(", ")
        ));
    }
    let lengths = [&texts, &roles, &contents].into_iter().flatten().map(Vec::len);
    let mut documents = Vec::new();
    for row in 0..lengths.min().unwrap_or(0) {
        let of = |column: &Option<Vec<Strings>>| column.as_ref().map(|rows| rows[row].clone()).unwrap_or_default();
        let place = format!("row {}", row + 1);
        let text = of(&texts).pop().flatten();
        let (roles, contents) = (of(&roles), of(&contents));
        if roles.len() != contents.len() {
            return Err(format!(
                "{place}: found {} roles and {} contents, expected as many",
                roles.len(),
                contents.len()
            ));
        }
        let message = |(role, content): (Option<String>, Option<String>)| match role {
            Some(role) => json!({ "role": role, "content": content }),
            None => json!({ "content": content }),
        };
        let messages: Vec<Value> = roles.into_iter().zip(contents).map(message).collect();
        if text.is_some() || !messages.is_empty() {
            let messages = if messages.is_empty() { Value::Null } else { messages.into() };
            documents.push(Document::from_object(&json!({ "text": text, "messages": messages }), place)?);
        }
    }
    Ok(documents)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(name: &str) -> Result<Vec<Document>, String> {
        let path =
            std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../formats/tests/data/{name}.parquet"));
        documents(&std::fs::read(path).expect("a file"))
    }

    #[test]
    fn rows_are_texts_or_conversations() {
        let texts = of("snappy").expect("texts");
        // 40 rows, of which 6 are null.
        assert_eq!((texts.len(), &texts[0]), (34, &Document::Text(String::new())));
        assert_eq!(texts[1], Document::Text("Text 1: a house – une forêt. ".to_owned()));
        let chats = of("chat").expect("conversations");
        assert_eq!(chats.len(), 20);
        let Document::Chat(chat) = &chats[7] else { panic!("{:?}", chats[7]) };
        assert_eq!((chat.place.as_str(), chat.messages.len(), chat.text.as_deref()), ("row 8", 3, Some("7")));
        assert_eq!((chat.messages[0].role.as_str(), &chat.messages[0].content), ("user", &Value::from("Question 7?")));
        assert_eq!(chats[3], Document::Text("3".to_owned()));
        assert_eq!(of("apart").expect("conversations").len(), 1);
    }

    #[test]
    fn files_without_texts_are_refused_with_their_columns() {
        assert!(of("gzip").expect_err("refused").contains("the compression GZIP is not supported"));
        assert!(documents(b"plain text").expect_err("refused").contains("expected PAR1"));
    }
}
