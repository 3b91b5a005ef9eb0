//! Ctrl-C: the first one asks the work in progress to stop, the second one ends the program.

use std::process::exit;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};

use crate::failure::INTERRUPTED;
use crate::output;
use crate::shell::quoted;

static PRESSED: AtomicBool = AtomicBool::new(false);
/// `true` while some code polls [`pressed`], so that the first Ctrl-C can be left to it.
static WATCHED: AtomicBool = AtomicBool::new(true);
/// Tells the user that the first Ctrl-C was noticed.
static ACKNOWLEDGE: Mutex<Option<Acknowledge>> = Mutex::new(None);
/// The command line that goes on with interrupted work.
static RESUME: OnceLock<String> = OnceLock::new();

/// A message to the user, from the thread that handles signals.
pub type Acknowledge = Box<dyn Fn() + Send>;

/// The message about the first Ctrl-C.
pub const STOPPING: &str = "Stopping: finishing the step at hand. Press Ctrl-C again to quit now.";

/// Takes over Ctrl-C. If this fails, Ctrl-C ends the program as it would by default.
pub fn install() {
    let _ = ctrlc::set_handler(|| {
        let again = PRESSED.swap(true, Ordering::SeqCst);
        if again || !WATCHED.load(Ordering::SeqCst) {
            if again {
                tell_how_to_resume();
            }
            exit(INTERRUPTED.into());
        }
        if let Some(acknowledge) = &*ACKNOWLEDGE.lock().unwrap_or_else(PoisonError::into_inner) {
            acknowledge();
        }
    });
}

/// Sets the answer to the first Ctrl-C, or removes it.
pub fn acknowledge_with(acknowledge: Option<Acknowledge>) {
    *ACKNOWLEDGE.lock().unwrap_or_else(PoisonError::into_inner) = acknowledge;
}

/// Returns `true` if Ctrl-C was pressed since the last [`reset`].
pub fn pressed() -> bool {
    PRESSED.load(Ordering::SeqCst)
}

/// Forgets a Ctrl-C that was acted on.
pub fn reset() {
    PRESSED.store(false, Ordering::SeqCst);
}

/// Leaves the first Ctrl-C to code that polls [`pressed`], or with `false` lets it end the program.
pub fn watched(yes: bool) {
    WATCHED.store(yes, Ordering::SeqCst);
}

/// Sets the command line that goes on with the work of this one: the same without the options `afresh`, which would begin
/// it again.
pub fn resume_with(arguments: impl IntoIterator<Item = String>, afresh: &[&str]) {
    let kept = arguments.into_iter().filter(|word| !afresh.contains(&word.as_str()));
    let _ = RESUME.set(kept.map(|word| quoted(&word)).collect::<Vec<_>>().join(" "));
}

/// Tells the user how to go on with interrupted work, where that is possible.
pub fn tell_how_to_resume() {
    if let Some(command) = RESUME.get() {
        output::note("Finished work is kept. To resume it:");
        output::note_command(command);
    }
}
