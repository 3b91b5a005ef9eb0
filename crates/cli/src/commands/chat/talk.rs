//! The turns of a conversation.

use std::path::PathBuf;

use honelm::{Answer, Cancel, Conversation, Generation, Message, Update};
use serde_json::json;

use super::command::{self, Command};
use super::editor::{self, Editor, Input};
use super::saved;
use crate::arguments::Global;
use crate::commands::spoken::{Spoken, warn_of_broken_calls};
use crate::commands::thoughts::{Shown, Think};
use crate::failure::Failure;
use crate::{interrupt, output};

/// The variables of chat templates that turn thinking on and off.
const THINK_VARIABLES: [&str; 2] = ["enable_thinking", "thinking"];

/// A conversation in progress.
pub struct Talk<'a> {
    pub conversation: Conversation<'a>,
    pub generation: Generation,
    /// The display of the thinking.
    pub shown: Shown,
    /// The model and its device.
    pub about: String,
    pub global: &'a Global,
    pub answers: Vec<Answer>,
    /// The file that the conversation was last saved to or loaded from.
    pub file: Option<PathBuf>,
}

impl Talk<'_> {
    /// Takes turns until the input ends.
    pub fn take_turns(&mut self, editor: &mut Editor) -> Result<(), Failure> {
        loop {
            // While input is awaited, the editor handles Ctrl-C; without an editor it ends the program.
            interrupt::watched(false);
            let input = editor.read();
            interrupt::reset();
            interrupt::watched(true);
            match input? {
                Input::End => return Ok(()),
                Input::Interrupted => self.global.note("Ctrl-D or /quit ends the conversation."),
                Input::Invalid(problem) => output::note(&format!("error: {problem}")),
                Input::Line(text) | Input::Message(text) if text.trim().is_empty() => {}
                Input::Message(text) => self.turn(&text)?,
                Input::Line(text) => match Command::parse(&text) {
                    None => match command::meant(&text).filter(|_| editor::is_interactive()) {
                        Some(hint) => output::note(&hint),
                        // Two slashes at the start stand for one.
                        None => self.turn(text.strip_prefix('/').unwrap_or(&text))?,
                    },
                    Some(Err(problem)) => output::note(&format!("error: {problem}")),
                    Some(Ok(Command::Quit)) => return Ok(()),
                    Some(Ok(command)) => self.execute(command)?,
                },
            }
        }
    }

    /// Sends a message to the model. A message that fails leaves the conversation unchanged, and ends a scripted one.
    fn turn(&mut self, text: &str) -> Result<(), Failure> {
        if let Some(problem) = self.too_long(text) {
            return if editor::is_interactive() && !self.global.json {
                output::note(&format!("error: {problem}"));
                Ok(())
            } else {
                Err(honelm::Error::Text { path: "stdin".to_owned(), problem }.into())
            };
        }
        self.answer(Some(text))
    }

    /// Answers a question, or the conversation so far.
    fn answer(&mut self, question: Option<&str>) -> Result<(), Failure> {
        let mut out = Spoken::new(self.shown, self.global.json);
        let answer = self.conversation.shift().and_then(|overflow| {
            self.generation.overflow = overflow;
            let cancel = Cancel::new();
            let mut on_update = |update: &Update| {
                if !out.update(update) {
                    cancel.cancel();
                }
            };
            match question {
                Some(text) => self.conversation.ask(text, &self.generation, &cancel, &mut on_update),
                None => self.conversation.answer(&self.generation, &cancel, &mut on_update),
            }
        });
        out.end()?;
        match answer {
            Ok(answer) => self.answered(answer),
            Err(error) if editor::is_interactive() && !self.global.json => {
                output::note(&format!("error: {}", Failure::from(error).message()));
            }
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }

    /// Returns the problem with a message that does not fit the context even without earlier turns.
    fn too_long(&self, text: &str) -> Option<String> {
        let system = self.conversation.messages().iter().take_while(|message| message.role == "system").cloned();
        let messages: Vec<Message> = system.chain([Message::new("user", text)]).collect();
        // A conversation that the template refuses is refused again, with its reason, when it is sent.
        let tokens = self.conversation.prompt_of(&messages).map_or(0, |ids| ids.len());
        let context = self.conversation.model().context();
        (tokens >= context).then(|| {
            format!("the message has {tokens} tokens with the system message, but the context holds only {context}")
        })
    }

    /// Answers the last message again, with a new seed.
    fn retry(&mut self) -> Result<(), Failure> {
        let messages = self.conversation.messages().to_vec();
        let last = messages.iter().rposition(|message| message.role == "user");
        let Some((at, text)) = last.and_then(|at| Some((at, messages.get(at)?.content.as_str()?))) else {
            output::note("error: /retry: there is no message to answer again");
            return Ok(());
        };
        self.conversation.restore(&messages[..at]);
        // The next seed, so that a conversation with --seed can be repeated.
        self.generation.seed = self.generation.seed.wrapping_add(1);
        if self.generation.temperature == 0.0 {
            self.global.note("(at temperature 0 the answer stays the same; /set temperature 0.8 varies it)");
        }
        let result = self.turn(text);
        if self.conversation.messages().len() <= at {
            self.conversation.restore(&messages);
        }
        result
    }

    /// Adds the result of the first call that has none, and lets the model go on after the last one.
    fn result(&mut self, text: &str) -> Result<(), Failure> {
        let messages = self.conversation.messages();
        let results = messages.iter().rev().take_while(|message| message.role == "tool").count();
        let answer = messages.len().checked_sub(results + 1).map(|at| &messages[at].extra);
        let calls = answer.and_then(|answer| answer.get("tool_calls")?.as_array()).map_or(&[][..], Vec::as_slice);
        let Some(call) = calls.get(results) else {
            output::note("error: /result: the last answer has no call without a result");
            return Ok(());
        };
        let is_last = results + 1 == calls.len();
        let mut message = Message::new("tool", text);
        message.extra.insert("tool_call_id".to_owned(), call["id"].clone());
        message.extra.insert("name".to_owned(), call["function"]["name"].clone());
        self.conversation.push(message);
        if is_last { self.answer(None) } else { Ok(()) }
    }

    /// Turns thinking on or off.
    pub fn think(&mut self, think: Think) {
        let template = self.conversation.model().chat_template().unwrap_or_default();
        if !THINK_VARIABLES.iter().any(|name| template.contains(name)) {
            self.global.note("The model's chat template has no variable for thinking.");
        }
        for name in THINK_VARIABLES {
            self.conversation.set_variable(name, json!(think == Think::On));
        }
    }

    fn answered(&mut self, answer: Answer) {
        warn_of_broken_calls(&answer);
        let rate = answer.decode_tokens_per_second.map_or_else(String::new, |r| format!(", {r:.0} tok/s"));
        let stopped = if interrupt::pressed() { ", stopped" } else { "" };
        self.global.note(&format!("({} tokens{rate}{stopped})", answer.completion_tokens));
        interrupt::reset();
        if !answer.tool_calls.is_empty() {
            self.global.note("/result TEXT gives the result of a call.");
        }
        self.answers.push(answer);
    }

    /// Executes a command other than `/quit`.
    fn execute(&mut self, command: Command) -> Result<(), Failure> {
        match command {
            Command::Quit => {}
            Command::Help => output::note(&command::help(output::width())),
            Command::Reset => {
                self.conversation.clear();
                self.global.note("(the conversation starts over)");
            }
            Command::Retry => return self.retry(),
            Command::Result(text) => return self.result(&text),
            Command::System(text) => {
                self.conversation.clear();
                self.conversation.set_system(&text);
                let done = if text.is_empty() { "removed" } else { "set" };
                self.global.note(&format!("(system message {done}; the conversation starts over)"));
            }
            Command::Set(name, value) => match command::set(&mut self.generation, &name, &value) {
                Ok(()) => output::note(&format!("({name} is {value})")),
                Err(problem) => output::note(&format!("error: {problem}")),
            },
            Command::Save { path, force } => {
                // The file of this conversation may be replaced.
                let own = self.file.as_ref() == Some(&path);
                let saved = saved::save(self.conversation.messages(), &path, force || own);
                self.done_with(saved, path, "saved");
            }
            Command::Load(path) => {
                let loaded = saved::load(&path).map(|messages| self.conversation.restore(&messages));
                self.done_with(loaded, path, "loaded");
            }
            Command::Thinking(shown) => self.shown = shown,
            Command::Think(think) => {
                self.think(think);
                output::note(if think == Think::On { "(thinking is on)" } else { "(thinking is off)" });
            }
            Command::Stats => output::note(self.stats().trim_end()),
        }
        Ok(())
    }

    /// Reports the result of saving or loading, and remembers the file after a success.
    fn done_with(&mut self, result: Result<(), String>, path: PathBuf, done: &str) {
        match result {
            Ok(()) => {
                output::note(&format!("({} {done})", path.display()));
                self.file = Some(path);
            }
            Err(problem) => output::note(&format!("error: {problem}")),
        }
    }

    fn stats(&self) -> String {
        let tokens: usize = self.answers.iter().map(|a| a.completion_tokens).sum();
        let rates: Vec<f64> = self.answers.iter().filter_map(|a| a.decode_tokens_per_second).collect();
        let mean = rates.iter().sum::<f64>() / rates.len().max(1) as f64;
        let (used, context) =
            (self.conversation.prompt().map_or(0, |ids| ids.len()), self.conversation.model().context());
        let used = match used {
            used if used > context => format!("full, {context} tokens; the oldest turns are left out"),
            used => format!("{used} of {context} tokens"),
        };
        let (sampling, penalty) = (&self.generation, self.generation.repeat_penalty);
        let limit = match sampling.max_tokens {
            usize::MAX => "no limit".to_owned(),
            limit => limit.to_string(),
        };
        let memory = honelm::bench::peak_memory_bytes().map_or_else(|| "unknown".to_owned(), honelm::units::bytes);
        output::facts(&[
            ("model", self.about.clone()),
            ("context", used),
            ("answers", format!("{}, {tokens} tokens, {mean:.0} tok/s", self.answers.len())),
            (
                "settings",
                format!(
                    "temperature {}, top_k {}, top_p {}, min_p {}, repeat_penalty {penalty}, seed {}, max_tokens {limit}",
                    sampling.temperature, sampling.top_k, sampling.top_p, sampling.min_p, sampling.seed
                ),
            ),
            ("peak memory", memory),
        ])
    }
}
