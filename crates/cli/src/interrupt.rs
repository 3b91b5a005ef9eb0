//! Ctrl-C: the first one asks the work at hand to stop, the second one ends the program.

use std::sync::atomic::{AtomicBool, Ordering};

use crate::failure::INTERRUPTED;

static PRESSED: AtomicBool = AtomicBool::new(false);
/// Whether somebody looks at [`PRESSED`] often enough for the first Ctrl-C to be left to them.
static WATCHED: AtomicBool = AtomicBool::new(true);

/// Takes Ctrl-C over. Where that cannot be done it ends the program, as it would have anyway.
pub fn install() {
    let _ = ctrlc::set_handler(|| {
        if PRESSED.swap(true, Ordering::SeqCst) || !WATCHED.load(Ordering::SeqCst) {
            std::process::exit(INTERRUPTED.into());
        }
    });
}

/// Whether Ctrl-C was pressed since the last [`reset`].
pub fn pressed() -> bool {
    PRESSED.load(Ordering::SeqCst)
}

/// Forgets a Ctrl-C that was acted on.
pub fn reset() {
    PRESSED.store(false, Ordering::SeqCst);
}

/// Says whether the first Ctrl-C is left to the work at hand; while waiting for input it is not.
pub fn watched(yes: bool) {
    WATCHED.store(yes, Ordering::SeqCst);
}
