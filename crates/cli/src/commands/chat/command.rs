//! The commands of a conversation, which begin with a slash.

use std::path::PathBuf;

use honelm::Generation;

use crate::arguments::{SIMILAR, answer_limit, not_negative, positive, probability, seed, share, top_k};
use crate::commands::generation::new_seed;
use crate::commands::thoughts::{Shown, Think};
use crate::table::facts_in;

/// The commands: name, argument, and purpose.
pub const COMMANDS: [(&str, &str, &str); 12] = [
    ("help", "", "list the commands"),
    ("retry", "", "answer the last message again, with a new seed"),
    ("reset", "", "start the conversation over, with the same system message"),
    ("system", "TEXT", "set the system message (without TEXT: remove it) and start the conversation over"),
    ("set", "NAME VALUE", "change a setting: temperature, top_k, top_p, min_p, repeat_penalty, seed, max_tokens"),
    ("think", "on|off", "turn thinking on or off, if the chat template has a variable for it"),
    ("thinking", "HOW", "show, fold or hide the thinking"),
    ("result", "TEXT", "give the result of a call of a tool; after the last one, the model goes on"),
    ("save", "[--force] FILE", "write the conversation to a JSON file; --force replaces another conversation"),
    ("load", "FILE", "continue a saved conversation"),
    ("stats", "", "show tokens, speed, settings and memory"),
    ("quit", "", "end the conversation, as Ctrl-D does"),
];

/// The names of the settings.
pub const SETTINGS: [&str; 7] = ["temperature", "top_k", "top_p", "min_p", "repeat_penalty", "seed", "max_tokens"];

/// Returns the text of `/help` for a terminal of `width` columns.
pub fn help(width: usize) -> String {
    let usage = |(name, argument, _): &(&str, &str, &str)| format!("/{name} {argument}").trim_end().to_owned();
    let names: Vec<String> = COMMANDS.iter().map(usage).collect();
    let purposes = COMMANDS.iter().map(|(_, _, purpose)| (*purpose).to_owned());
    let commands = facts_in(&names.iter().map(String::as_str).zip(purposes).collect::<Vec<_>>(), width);
    format!(
        "{commands}\n\
         Tab completes commands and file names. A backslash at the end of a line continues the message; \"\"\" begins and \
         ends a message of several lines. Write two slashes to begin a message with one."
    )
}

/// Returns a hint for a message that was probably meant as a command.
pub fn meant(text: &str) -> Option<String> {
    let word = text.trim().to_lowercase();
    let command = match word.as_str() {
        "exit" | "quit" | "bye" | ":q" | "exit()" | "quit()" => "/quit",
        "help" | "?" => "/help",
        _ => return None,
    };
    Some(format!(
        "{word} was not sent: the command is {command}. To send the word, write it between \"\"\" and \"\"\"."
    ))
}

/// A command with its arguments.
#[derive(Debug, PartialEq, Eq)]
pub enum Command {
    Help,
    Reset,
    Retry,
    System(String),
    Result(String),
    Thinking(Shown),
    Think(Think),
    Set(String, String),
    Save { path: PathBuf, force: bool },
    Load(PathBuf),
    Stats,
    Quit,
}

impl Command {
    /// Parses a line. Returns `None` for a message to the model, else the command or the problem with it.
    pub fn parse(line: &str) -> Option<Result<Self, String>> {
        let rest = line.strip_prefix('/').filter(|rest| !rest.starts_with('/'))?;
        let (name, argument) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
        let argument = argument.trim();
        let file = |make: fn(PathBuf) -> Self| {
            if argument.is_empty() { Err(format!("/{name}: expected a file name")) } else { Ok(make(argument.into())) }
        };
        Some(match name {
            "help" | "?" => Ok(Self::Help),
            "reset" | "clear" => Ok(Self::Reset),
            "retry" | "regenerate" => Ok(Self::Retry),
            "system" => Ok(Self::System(argument.to_owned())),
            "result" if argument.is_empty() => Err("/result: expected the text of the result".to_owned()),
            "result" => Ok(Self::Result(argument.to_owned())),
            "thinking" => Shown::parse(argument).map(Self::Thinking),
            "think" => match argument {
                "on" => Ok(Self::Think(Think::On)),
                "off" => Ok(Self::Think(Think::Off)),
                found => Err(format!("/think: found {found:?}, expected on or off")),
            },
            "set" => match argument.split_once(char::is_whitespace) {
                Some((name, value)) => Ok(Self::Set(name.replace('-', "_"), value.trim().to_owned())),
                None => Err("/set: expected a name and a value, such as /set temperature 0.7".to_owned()),
            },
            "save" => match argument.strip_prefix("--force") {
                Some(path) if path.trim().is_empty() => Err("/save: expected a file name".to_owned()),
                Some(path) if path.starts_with(char::is_whitespace) => {
                    Ok(Self::Save { path: path.trim().into(), force: true })
                }
                _ => file(|path| Self::Save { path, force: false }),
            },
            "load" => file(Self::Load),
            "stats" => Ok(Self::Stats),
            "quit" | "exit" | "bye" => Ok(Self::Quit),
            _ => Err(unknown(&format!("/{name}"), "command", COMMANDS.iter().map(|(name, ..)| format!("/{name}")))),
        })
    }
}

/// Changes a setting of the generation.
pub fn set(generation: &mut Generation, name: &str, value: &str) -> Result<(), String> {
    let at = |problem: String| format!("/set {name}: found {value:?}, {problem}");
    match name {
        "temperature" => generation.temperature = not_negative(value).map_err(at)?,
        "top_k" => generation.top_k = top_k(value).map_err(at)?,
        "top_p" => generation.top_p = share(value).map_err(at)?,
        "min_p" => generation.min_p = probability(value).map_err(at)?,
        "repeat_penalty" => generation.repeat_penalty = positive(value).map_err(at)?,
        "seed" => generation.seed = seed(value).map_err(at)?.0.unwrap_or_else(new_seed),
        "max_tokens" => generation.max_tokens = answer_limit(value).map_err(at)?,
        _ => return Err(unknown(name, "setting", SETTINGS.map(str::to_owned))),
    }
    Ok(())
}

/// Returns the message about an unknown name, with the most similar known one.
fn unknown(name: &str, kind: &str, known: impl IntoIterator<Item = String>) -> String {
    let known: Vec<String> = known.into_iter().collect();
    let scored = known.iter().map(|other| (strsim::jaro_winkler(name, other), other));
    match scored.filter(|(score, _)| *score >= SIMILAR).max_by(|(a, _), (b, _)| a.total_cmp(b)) {
        Some((_, near)) => format!("{name} is not a {kind}; did you mean {near}?"),
        None => format!("{name} is not a {kind}; expected one of {}", known.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_distinguished_from_messages() {
        assert_eq!(Command::parse("hello / there"), None);
        assert_eq!(Command::parse("//comment"), None);
        assert_eq!(Command::parse("/quit"), Some(Ok(Command::Quit)));
        assert!(COMMANDS.iter().all(|(name, ..)| help(80).contains(name)));
        let unknown = Command::parse("/quti").and_then(Result::err).expect("a problem");
        assert!(unknown.contains("did you mean /quit?"), "{unknown}");
        assert!(meant(" Exit ").expect("a hint").contains("/quit") && meant("exit the room").is_none());
        assert_eq!(Command::parse("/system  Be short. "), Some(Ok(Command::System("Be short.".to_owned()))));
        assert_eq!(Command::parse("/set top-k 40"), Some(Ok(Command::Set("top_k".to_owned(), "40".to_owned()))));
        assert_eq!(Command::parse("/thinking hide"), Some(Ok(Command::Thinking(Shown::Hide))));
        assert_eq!(Command::parse("/think off"), Some(Ok(Command::Think(Think::Off))));
        let save = |path: &str, force| Some(Ok(Command::Save { path: path.into(), force }));
        assert_eq!(Command::parse("/save a b.json"), save("a b.json", false));
        assert_eq!(Command::parse("/save --force a b.json"), save("a b.json", true));
        assert_eq!(Command::parse("/save --forced"), save("--forced", false));
        assert_eq!(Command::parse("/result 12 °C"), Some(Ok(Command::Result("12 °C".to_owned()))));
        for wrong in ["/result", "/save", "/save --force", "/thinking", "/think maybe", "/set temperature", "/nonsense"]
        {
            assert!(matches!(Command::parse(wrong), Some(Err(_))), "{wrong}");
        }
    }

    #[test]
    fn settings_are_checked() {
        let mut generation = Generation::default();
        set(&mut generation, "temperature", "0.7").expect("a number");
        set(&mut generation, "max_tokens", "5").expect("a number");
        assert_eq!((generation.temperature, generation.max_tokens), (0.7, 5));
        set(&mut generation, "max_tokens", "-1").expect("no limit");
        set(&mut generation, "top_k", "-1").expect("all tokens");
        assert_eq!((generation.top_k, generation.max_tokens), (0, usize::MAX));
        for (name, value) in
            [("temperature", "-1"), ("top_p", "2"), ("top_k", "x"), ("max_tokens", "0"), ("colour", "red")]
        {
            assert!(set(&mut generation, name, value).is_err(), "{name} {value}");
        }
    }
}
