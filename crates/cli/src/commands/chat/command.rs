//! What begins with a slash.

use std::path::PathBuf;

use honelm::Generation;

use super::Think;
use super::thoughts::Shown;
use crate::arguments::{not_negative, positive, probability, share};

/// What the user may say to the program rather than to the model.
pub const HELP: &str = "\
/help              this
/reset             forget the conversation; the system text stays
/system TEXT       set the system text (none without TEXT) and forget the conversation
/thinking HOW      what is shown of the model's thinking: show, fold or hide
/think on|off      ask the model to think or not, where its template has a switch
/set NAME VALUE    temperature, top_k, top_p, min_p, repeat_penalty, seed, max_tokens
/save FILE         write the conversation as JSON; /save --force FILE replaces another one
/load FILE         go on with a saved one
/stats             tokens, speed, settings, memory
/quit              end, as Ctrl-D does
A backslash at the end of a line continues it; a line that begins with two slashes is sent with one.";

/// A command.
#[derive(Debug, PartialEq, Eq)]
pub enum Command {
    Help,
    Reset,
    System(String),
    Thinking(Shown),
    Think(Think),
    Set(String, String),
    Save { path: PathBuf, force: bool },
    Load(PathBuf),
    Stats,
    Quit,
}

impl Command {
    /// Reads a line: nothing where it is meant for the model, else a command, or what is wrong with it.
    pub fn parse(line: &str) -> Option<Result<Self, String>> {
        let rest = line.strip_prefix('/').filter(|rest| !rest.starts_with('/'))?;
        let (name, argument) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
        let argument = argument.trim();
        let file = |make: fn(PathBuf) -> Self| {
            if argument.is_empty() { Err(format!("/{name} needs a file")) } else { Ok(make(argument.into())) }
        };
        Some(match name {
            "help" | "?" => Ok(Self::Help),
            "reset" | "clear" => Ok(Self::Reset),
            "system" => Ok(Self::System(argument.to_owned())),
            "thinking" => Shown::parse(argument).map(Self::Thinking),
            "think" => match argument {
                "on" => Ok(Self::Think(Think::On)),
                "off" => Ok(Self::Think(Think::Off)),
                _ => Err("/think needs on or off".to_owned()),
            },
            "set" => match argument.split_once(char::is_whitespace) {
                Some((name, value)) => Ok(Self::Set(name.replace('-', "_"), value.trim().to_owned())),
                None => Err("/set needs a name and a value, for example /set temperature 0.7".to_owned()),
            },
            "save" => match argument.strip_prefix("--force") {
                Some(path) if path.trim().is_empty() => Err("/save needs a file".to_owned()),
                Some(path) if path.starts_with(char::is_whitespace) => {
                    Ok(Self::Save { path: path.trim().into(), force: true })
                }
                _ => file(|path| Self::Save { path, force: false }),
            },
            "load" => file(Self::Load),
            "stats" => Ok(Self::Stats),
            "quit" | "exit" | "bye" => Ok(Self::Quit),
            _ => Err(format!("/{name} is no command; /help lists them")),
        })
    }
}

/// Changes a setting of the generation.
pub fn set(generation: &mut Generation, name: &str, value: &str) -> Result<(), String> {
    let at = |problem: String| format!("{name} {value}: {problem}");
    let whole = |value: &str| value.parse::<u64>().map_err(|e| at(e.to_string()));
    match name {
        "temperature" => generation.temperature = not_negative(value).map_err(at)?,
        "top_k" => generation.top_k = u32::try_from(whole(value)?).map_err(|e| at(e.to_string()))?,
        "top_p" => generation.top_p = share(value).map_err(at)?,
        "min_p" => generation.min_p = probability(value).map_err(at)?,
        "repeat_penalty" => generation.repeat_penalty = positive(value).map_err(at)?,
        "seed" => generation.seed = whole(value)?,
        "max_tokens" => generation.max_tokens = usize::try_from(whole(value)?.max(1)).map_err(|e| at(e.to_string()))?,
        _ => {
            return Err(format!(
                "{name} is no setting; expected temperature, top_k, top_p, min_p, repeat_penalty, seed or max_tokens"
            ));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_told_from_words_for_the_model() {
        assert_eq!(Command::parse("hello / there"), None);
        assert_eq!(Command::parse("//comment"), None);
        assert_eq!(Command::parse("/quit"), Some(Ok(Command::Quit)));
        assert_eq!(Command::parse("/system  Be short. "), Some(Ok(Command::System("Be short.".to_owned()))));
        assert_eq!(Command::parse("/set top-k 40"), Some(Ok(Command::Set("top_k".to_owned(), "40".to_owned()))));
        assert_eq!(Command::parse("/thinking hide"), Some(Ok(Command::Thinking(Shown::Hide))));
        assert_eq!(Command::parse("/think off"), Some(Ok(Command::Think(Think::Off))));
        let save = |path: &str, force| Some(Ok(Command::Save { path: path.into(), force }));
        assert_eq!(Command::parse("/save a b.json"), save("a b.json", false));
        assert_eq!(Command::parse("/save --force a b.json"), save("a b.json", true));
        assert_eq!(Command::parse("/save --forced"), save("--forced", false));
        for wrong in ["/save", "/save --force", "/thinking", "/think maybe", "/set temperature", "/nonsense"] {
            assert!(matches!(Command::parse(wrong), Some(Err(_))), "{wrong}");
        }
    }

    #[test]
    fn settings_are_checked() {
        let mut generation = Generation::default();
        set(&mut generation, "temperature", "0.7").expect("a number");
        set(&mut generation, "max_tokens", "5").expect("a number");
        assert_eq!((generation.temperature, generation.max_tokens), (0.7, 5));
        for (name, value) in [("temperature", "-1"), ("top_p", "2"), ("top_k", "x"), ("colour", "red")] {
            assert!(set(&mut generation, name, value).is_err(), "{name} {value}");
        }
    }
}
