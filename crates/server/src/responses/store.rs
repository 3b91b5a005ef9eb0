//! The responses that later requests can follow, in memory.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

use super::request::{ContentPart, Item};
use super::response::{OutputItem, OutputPart, ResponseObject};
use crate::json::TextOrList;

/// The most responses that are kept.
const MOST: usize = 1024;

/// The most bytes of their texts, counted for each response with the whole conversation before it.
const MOST_BYTES: usize = 256 << 20;

/// A response that was stored.
#[derive(Debug)]
pub struct Stored {
    /// The response.
    pub response: ResponseObject,
    /// The items of its own input.
    pub input: Vec<Arc<Item>>,
    /// The whole conversation: earlier inputs and outputs, its own input, its output. Shared with the responses before it.
    pub conversation: Vec<Arc<Item>>,
    bytes: usize,
}

impl Stored {
    /// Creates an entry. `conversation` ends with the input of the response.
    #[must_use]
    pub fn new(response: ResponseObject, input: Vec<Arc<Item>>, mut conversation: Vec<Arc<Item>>) -> Self {
        conversation.extend(response.output.iter().map(|item| Arc::new(item.as_input())));
        let bytes = conversation.iter().map(|item| item.bytes()).sum();
        Self { response, input, conversation, bytes }
    }
}

/// The stored responses. The oldest ones are forgotten when there is no room.
#[derive(Debug, Default)]
pub struct Store {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    entries: HashMap<String, Arc<Stored>>,
    /// The ids in the order of their arrival; some may have been deleted.
    order: VecDeque<String>,
    bytes: usize,
}

impl Inner {
    fn remove(&mut self, id: &str) -> Option<Arc<Stored>> {
        let removed = self.entries.remove(id)?;
        self.bytes -= removed.bytes;
        Some(removed)
    }
}

impl Store {
    /// Returns a response.
    #[must_use]
    pub fn get(&self, id: &str) -> Option<Arc<Stored>> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner).entries.get(id).cloned()
    }

    /// Keeps a response. One that is larger than the whole store is not kept.
    pub fn insert(&self, stored: Stored) {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        if stored.bytes > MOST_BYTES {
            return;
        }
        inner.bytes += stored.bytes;
        let id = stored.response.id.clone();
        inner.order.push_back(id.clone());
        inner.entries.insert(id, Arc::new(stored));
        while inner.entries.len() > MOST || inner.bytes > MOST_BYTES {
            let Some(oldest) = inner.order.pop_front() else { break };
            inner.remove(&oldest);
        }
        // Deleted responses leave their ids behind.
        if inner.order.len() > 2 * MOST {
            let Inner { entries, order, .. } = &mut *inner;
            order.retain(|id| entries.contains_key(id));
        }
    }

    /// Deletes a response. Returns `false` if there is none.
    #[must_use]
    pub fn delete(&self, id: &str) -> bool {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner).remove(id).is_some()
    }
}

impl OutputItem {
    /// Returns the item as a later request would send it.
    #[must_use]
    pub fn as_input(&self) -> Item {
        match self {
            Self::Message { id, content, .. } => Item {
                kind: Some("message".to_owned()),
                id: Some(id.clone()),
                role: Some("assistant".to_owned()),
                content: Some(TextOrList::List(content.iter().map(OutputPart::as_input).collect())),
                ..Item::default()
            },
            Self::Reasoning { id, content, .. } => Item {
                kind: Some("reasoning".to_owned()),
                id: Some(id.clone()),
                content: Some(TextOrList::List(content.iter().map(OutputPart::as_input).collect())),
                ..Item::default()
            },
            Self::FunctionCall { id, call_id, name, arguments, .. } => Item {
                kind: Some("function_call".to_owned()),
                id: Some(id.clone()),
                call_id: Some(call_id.clone()),
                name: Some(name.clone()),
                arguments: Some(arguments.clone()),
                ..Item::default()
            },
        }
    }
}

impl OutputPart {
    fn as_input(&self) -> ContentPart {
        let (kind, text) = match self {
            Self::OutputText { text, .. } => ("output_text", text),
            Self::ReasoningText { text } => ("reasoning_text", text),
        };
        ContentPart { kind: kind.to_owned(), text: Some(text.clone()), ..ContentPart::default() }
    }
}

impl Item {
    /// Returns about the bytes that the item takes.
    fn bytes(&self) -> usize {
        let content = [&self.content, &self.output].into_iter().flatten().map(|content| match content {
            TextOrList::Text(text) => text.len(),
            TextOrList::List(parts) => parts.iter().map(ContentPart::bytes).sum(),
        });
        let summary = self.summary.iter().flatten().map(ContentPart::bytes).sum::<usize>();
        let texts = [&self.arguments, &self.name, &self.call_id, &self.id, &self.encrypted_content];
        size_of::<Self>()
            + content.sum::<usize>()
            + summary
            + texts.into_iter().flatten().map(String::len).sum::<usize>()
    }
}

impl ContentPart {
    fn bytes(&self) -> usize {
        let annotations = self.annotations.as_ref().map_or(0, Vec::len) + self.logprobs.as_ref().map_or(0, Vec::len);
        let texts = [&self.text, &self.refusal];
        // A guess for each value, whose size is bounded by that of the request.
        size_of::<Self>() + 256 * annotations + texts.into_iter().flatten().map(String::len).sum::<usize>()
    }
}
