//! The one place of this crate with unsafe code: memory maps, and the signal that a lost page of one raises.
//!
//! # Files that change while they are mapped
//!
//! A map shows the file as it is at each access. A file that is overwritten in place therefore changes weights that were
//! opened long before: [`crate::FileWatch`] compares its length and time of last change before a result is given.
//!
//! A file that is cut short has no bytes to show, and the system raises `SIGBUS` at the next access. No comparison can
//! exclude that, because the file can be cut between the comparison and the access. Plain reads would report it as an
//! error, at the price of a copy of every weight in memory that the system cannot take back, and a model larger than
//! memory could not be streamed. So models stay mapped, and [`report_lost_pages`] replaces the silent end of the process
//! by a message that names the file. The process still ends at once: the access that failed has no value to go on with.
//! Nothing is published then, because files get their names only when they are complete.
#![allow(unsafe_code, reason = "a memory map is the only way to hold a model larger than memory")]

use std::fs::File;
use std::path::Path;
use std::sync::{Arc, Weak};

use bytes::Bytes;

use crate::{FileData, FileStamp, FormatError};

/// A file in memory.
#[derive(Debug, Clone)]
pub(crate) struct Map(Arc<Mapped>);

#[derive(Debug)]
struct Mapped {
    map: memmap2::Mmap,
    /// Kept open, so that its length and time can be asked for whatever its name is.
    file: File,
    stamp: FileStamp,
    #[cfg(unix)]
    _range: lost_pages::Range,
}

impl AsRef<[u8]> for Map {
    fn as_ref(&self) -> &[u8] {
        &self.0.map
    }
}

impl Map {
    /// Gives the memory back that its pages take; who reads them again has them read from the file again.
    pub(crate) fn release(&self) {
        // SAFETY: nobody writes to a read-only map, so that its pages hold nothing but the file's own bytes.
        #[cfg(unix)]
        let _ = unsafe { self.0.map.unchecked_advise(memmap2::UncheckedAdvice::DontNeed) };
    }

    pub(crate) fn downgrade(&self) -> WeakMap {
        WeakMap(Arc::downgrade(&self.0))
    }
}

/// A map that lives as long as somebody views it.
#[derive(Debug, Clone)]
pub(crate) struct WeakMap(Weak<Mapped>);

impl WeakMap {
    /// Checks that the file is as it was when it was mapped.
    pub(crate) fn check(&self) -> Result<(), FormatError> {
        let Some(mapped) = self.0.upgrade() else { return Ok(()) };
        let metadata = mapped.file.metadata();
        mapped.stamp.compare(&metadata.map_err(|error| FormatError::io("read", mapped.stamp.shown(), error))?)
    }

    /// Checks that its path still leads to it.
    pub(crate) fn check_name(&self) -> Result<(), FormatError> {
        self.0.upgrade().map_or(Ok(()), |mapped| mapped.stamp.check())
    }
}

/// Maps a file into memory, read-only; views of it keep the map alive.
///
/// The file must not be shortened while it is mapped: the system then ends the process on the next access (`SIGBUS`;
/// [`report_lost_pages`] tells the user why). Replacing it by rename, as [`crate::AtomicFile`] does, is safe.
/// [`FileData::watch`] tells whether it was written to.
///
/// # Errors
/// I/O errors, and [`FormatError::NotAFile`] for folders, pipes and devices.
pub fn map_file(path: impl AsRef<Path>) -> Result<FileData, FormatError> {
    let path = path.as_ref();
    let shown = path.display();
    let file = super::open_file(path)?;
    // Noted before the map is made, so that a later change is never taken for the state at opening.
    let metadata = file.metadata().map_err(|error| FormatError::io("open", &shown, error))?;
    if metadata.len() == 0 {
        return Ok(Bytes::new().into());
    }
    let stamp = FileStamp::new(path, &metadata);
    // SAFETY: the map is private and read-only. Rust asks that nobody changes the bytes behind a
    // shared slice; no process can be kept from writing to a file, so parsers must not rely on
    // reading the same value twice for memory safety. They are safe code and every read they make
    // is bounds-checked, so a changed byte can give wrong numbers or an error, never a wild access.
    let map = unsafe { memmap2::Mmap::map(&file) }.map_err(|error| FormatError::io("map", &shown, error))?;
    #[cfg(unix)]
    let _range = lost_pages::Range::new(&map, path);
    let mapped = Mapped {
        map,
        file,
        stamp,
        #[cfg(unix)]
        _range,
    };
    Ok(FileData::mapped(Map(Arc::new(mapped))))
}

/// How [`report_lost_pages`] tells of a mapped file that was cut short: a text with the file's path in the middle, escaped
/// as inside a JSON string.
#[derive(Debug, Clone, Copy)]
pub struct LostPage {
    /// Written to stderr, or to stdout.
    pub to_stdout: bool,
    /// The text before the path.
    pub before: &'static str,
    /// What is said of the file.
    pub problem: &'static str,
    /// The text after that.
    pub after: &'static str,
    /// The process's exit status.
    pub status: u8,
}

/// Lets the process end with a message, rather than by a silent `SIGBUS`, when a mapped file was cut short or its disk
/// fails. A program calls it once, at its start; a library leaves signals to its program. Other causes of the signal
/// are left to whoever handled it before.
///
/// Does nothing on systems without this signal.
pub fn report_lost_pages(report: LostPage) {
    #[cfg(unix)]
    lost_pages::install(report);
    #[cfg(not(unix))]
    let _ = report;
}

/// The handler of `SIGBUS`, and the table of maps that it looks the address up in.
#[cfg(unix)]
mod lost_pages {
    use std::path::Path;
    use std::ptr;
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicPtr, AtomicUsize, Ordering};

    use super::LostPage;

    /// Maps that are told by name; models rarely have more files.
    const SLOTS: usize = 1024;
    /// A slot that is taken but not filled in yet.
    const TAKEN: usize = usize::MAX;

    struct Slot {
        /// First address; 0 where the slot is free.
        start: AtomicUsize,
        end: AtomicUsize,
        name: AtomicPtr<u8>,
        name_len: AtomicUsize,
    }

    static TABLE: [Slot; SLOTS] = [const {
        Slot {
            start: AtomicUsize::new(0),
            end: AtomicUsize::new(0),
            name: AtomicPtr::new(ptr::null_mut()),
            name_len: AtomicUsize::new(0),
        }
    }; SLOTS];

    /// A map's row in the table, until it is dropped.
    #[derive(Debug)]
    pub(super) struct Range {
        slot: Option<usize>,
        /// What the slot points to.
        _name: Box<[u8]>,
    }

    impl Range {
        /// Enters a map. Where the table is full it stays without a name, and its signal with whoever had it before.
        pub(super) fn new(map: &[u8], path: &Path) -> Self {
            let json = serde_json::to_string(&path.to_string_lossy()).unwrap_or_default();
            let inside = json.get(1..json.len().saturating_sub(1)).unwrap_or_default();
            let name: Box<[u8]> = inside.as_bytes().into();
            let free =
                |slot: &&Slot| slot.start.compare_exchange(0, TAKEN, Ordering::AcqRel, Ordering::Relaxed).is_ok();
            let slot = TABLE.iter().position(|slot| free(&slot));
            if let Some(slot) = slot.map(|i| &TABLE[i]) {
                let start = map.as_ptr() as usize;
                slot.end.store(start + map.len(), Ordering::Relaxed);
                slot.name.store(name.as_ptr().cast_mut(), Ordering::Relaxed);
                slot.name_len.store(name.len(), Ordering::Relaxed);
                slot.start.store(start, Ordering::Release);
            }
            Self { slot, _name: name }
        }
    }

    impl Drop for Range {
        fn drop(&mut self) {
            if let Some(slot) = self.slot.map(|i| &TABLE[i]) {
                slot.start.store(TAKEN, Ordering::Release);
                slot.end.store(0, Ordering::Relaxed);
                slot.start.store(0, Ordering::Release);
            }
        }
    }

    static REPORT: OnceLock<LostPage> = OnceLock::new();
    static BEFORE_US: OnceLock<libc::sigaction> = OnceLock::new();

    pub(super) fn install(report: LostPage) {
        if REPORT.set(report).is_err() {
            return;
        }
        // SAFETY: a zeroed sigaction is one without flags and with an empty mask. `handle` has the signature that
        // SA_SIGINFO asks for, and does only what a signal handler may. The pointers are to live values.
        unsafe {
            let mut before: libc::sigaction = std::mem::zeroed();
            if libc::sigaction(libc::SIGBUS, ptr::null(), &raw mut before) != 0 {
                return;
            }
            // Known before the handler can run.
            let _ = BEFORE_US.set(before);
            let mut ours: libc::sigaction = std::mem::zeroed();
            let handler: extern "C" fn(libc::c_int, *mut libc::siginfo_t, *mut libc::c_void) = handle;
            ours.sa_sigaction = handler as libc::sighandler_t;
            ours.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
            libc::sigaction(libc::SIGBUS, &raw const ours, ptr::null_mut());
        }
    }

    /// Calls nothing but functions that are safe in a signal handler: atomic loads, `write`, `_exit`, `sigaction`, `raise`.
    extern "C" fn handle(signal: libc::c_int, info: *mut libc::siginfo_t, _: *mut libc::c_void) {
        // SAFETY: with SA_SIGINFO the system passes a valid siginfo_t, and SIGBUS has an address in it.
        let address = unsafe { (*info).si_addr() } as usize;
        let hit = TABLE.iter().find(|slot| {
            let start = slot.start.load(Ordering::Acquire);
            start != TAKEN && start != 0 && (start..slot.end.load(Ordering::Relaxed)).contains(&address)
        });
        if let (Some(slot), Some(report)) = (hit, REPORT.get()) {
            let descriptor = if report.to_stdout { libc::STDOUT_FILENO } else { libc::STDERR_FILENO };
            let (name, len) = (slot.name.load(Ordering::Relaxed), slot.name_len.load(Ordering::Relaxed));
            let fixed = |text: &str| (text.as_ptr(), text.len());
            let texts = [fixed(report.before), (name.cast_const(), len), fixed(report.problem), fixed(report.after)];
            for (text, len) in texts {
                // SAFETY: the texts are static. The name lives as long as its map, which the thread that the signal
                // interrupted is reading from. Nothing can be done about a failed write.
                let _ = unsafe { libc::write(descriptor, text.cast(), len) };
            }
            // SAFETY: ends the process at once, as a signal handler may.
            unsafe { libc::_exit(report.status.into()) };
        }
        // Not a map of ours: as if this handler had never been.
        // SAFETY: the action is the one that the system gave for this signal.
        unsafe {
            if let Some(before) = BEFORE_US.get() {
                libc::sigaction(signal, before, ptr::null_mut());
            }
            libc::raise(signal);
        }
    }
}
