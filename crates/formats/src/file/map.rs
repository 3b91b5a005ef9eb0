//! Memory maps, and the signal that a lost page raises. This is the only module of this crate with unsafe code.
//!
//! # Files that change while they are mapped
//!
//! A map shows the current contents of the file at every access. Overwriting a file in place therefore changes
//! weights that were opened long before. [`crate::FileWatch`] compares length and modification time before a result
//! is returned.
//!
//! If a file is cut short, the next access to a missing page raises `SIGBUS`. No comparison can exclude this,
//! because the file can be cut between the comparison and the access. Plain reads would report an error instead,
//! but they would copy every weight into memory that the system cannot reclaim, and a model larger than memory
//! could not be streamed. Models therefore stay mapped, and [`report_lost_pages`] replaces the silent end of the
//! process by a message that names the file. The process still ends at once, because the failed access has no value
//! to continue with. Nothing is published, because files get their names only when they are complete.
#![allow(unsafe_code, reason = "a memory map is the only way to hold a model larger than memory")]

use std::fs::File;
use std::path::Path;
use std::sync::{Arc, Weak};

use bytes::Bytes;

use crate::{FileData, FileStamp, FormatError};

/// A memory-mapped file.
#[derive(Debug, Clone)]
pub(crate) struct Map(Arc<Mapped>);

#[derive(Debug)]
struct Mapped {
    map: memmap2::Mmap,
    /// The open file, whose length and times can be queried under any name.
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
    /// Releases the memory of the map's pages. Later accesses read them from the file again.
    pub(crate) fn release(&self) {
        // SAFETY: the map is read-only, so its pages hold nothing but the file's own bytes.
        #[cfg(unix)]
        let _ = unsafe { self.0.map.unchecked_advise(memmap2::UncheckedAdvice::DontNeed) };
    }

    pub(crate) fn downgrade(&self) -> WeakMap {
        WeakMap(Arc::downgrade(&self.0))
    }
}

/// A reference to a map that does not keep it alive.
#[derive(Debug, Clone)]
pub(crate) struct WeakMap(Weak<Mapped>);

impl WeakMap {
    /// Checks that the file has not changed since it was mapped.
    pub(crate) fn check(&self) -> Result<(), FormatError> {
        let Some(mapped) = self.0.upgrade() else { return Ok(()) };
        let metadata = mapped.file.metadata();
        mapped.stamp.compare(&metadata.map_err(|error| FormatError::io("read", mapped.stamp.shown(), error))?)
    }

    /// Checks that the path still leads to the file.
    pub(crate) fn check_name(&self) -> Result<(), FormatError> {
        self.0.upgrade().map_or(Ok(()), |mapped| mapped.stamp.check())
    }
}

/// Maps a file into memory, read-only. Views of the map keep it alive.
///
/// The file must not be shortened while it is mapped: the next access would end the process (`SIGBUS`;
/// [`report_lost_pages`] prints the reason). Replacing the file by a rename, as [`crate::AtomicFile`] does, is
/// safe. [`FileData::watch`] detects writes to the file.
///
/// # Errors
/// I/O errors, and [`FormatError::NotAFile`] for folders, pipes and devices.
pub fn map_file(path: impl AsRef<Path>) -> Result<FileData, FormatError> {
    let path = path.as_ref();
    let shown = path.display();
    let file = super::open_file(path)?;
    // Recorded before the map is made, so that a later change is never taken for the initial state.
    let metadata = file.metadata().map_err(|error| FormatError::io("open", &shown, error))?;
    if metadata.len() == 0 {
        return Ok(Bytes::new().into());
    }
    let stamp = FileStamp::new(path, &metadata);
    // SAFETY: the map is private and read-only. Rust requires that the bytes behind a shared slice do not change, but
    // nothing can keep other processes from writing to the file. Parsers therefore must not rely on reading the same
    // value twice for memory safety. They are safe code with bounds checks on every read, so a changed byte can cause
    // wrong numbers or an error but no invalid access.
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

/// The message of [`report_lost_pages`] about a mapped file that was cut short: `before`, the path, `problem` and
/// `after`. The path is escaped as in a JSON string.
#[derive(Debug, Clone, Copy)]
pub struct LostPage {
    /// `true` to write to stdout instead of stderr.
    pub to_stdout: bool,
    /// The text before the path.
    pub before: &'static str,
    /// The text about the file.
    pub problem: &'static str,
    /// The text at the end.
    pub after: &'static str,
    /// The exit status of the process.
    pub status: u8,
}

/// Makes the process end with a message, instead of a silent `SIGBUS`, if a mapped file was cut short or its disk
/// fails.
///
/// A program calls this function once at its start; a library leaves signals to the program. Other causes of the
/// signal go to the previous handler. On systems without this signal, the function does nothing.
pub fn report_lost_pages(report: LostPage) {
    #[cfg(unix)]
    lost_pages::install(report);
    #[cfg(not(unix))]
    let _ = report;
}

/// The handler of `SIGBUS`, and the table in which it looks up the address.
#[cfg(unix)]
mod lost_pages {
    use std::path::Path;
    use std::ptr;
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicPtr, AtomicUsize, Ordering};

    use super::LostPage;

    /// The number of maps that can be reported by name. Models rarely have more files.
    const SLOTS: usize = 1024;
    /// The mark of a slot that is reserved but not yet filled.
    const TAKEN: usize = usize::MAX;

    struct Slot {
        /// The first address; 0 if the slot is free.
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

    /// The entry of a map in the table, removed on drop.
    #[derive(Debug)]
    pub(super) struct Range {
        slot: Option<usize>,
        /// The memory that the slot points to.
        _name: Box<[u8]>,
    }

    impl Range {
        /// Adds a map to the table. If the table is full, the map has no entry, and its signal goes to the previous
        /// handler.
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
        // SAFETY: a zeroed sigaction has no flags and an empty mask. `handle` has the signature that SA_SIGINFO
        // requires and does only what a signal handler may do. The pointers are to live values.
        unsafe {
            let mut before: libc::sigaction = std::mem::zeroed();
            if libc::sigaction(libc::SIGBUS, ptr::null(), &raw mut before) != 0 {
                return;
            }
            // Set before the handler can run.
            let _ = BEFORE_US.set(before);
            let mut ours: libc::sigaction = std::mem::zeroed();
            let handler: extern "C" fn(libc::c_int, *mut libc::siginfo_t, *mut libc::c_void) = handle;
            ours.sa_sigaction = handler as libc::sighandler_t;
            ours.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
            libc::sigaction(libc::SIGBUS, &raw const ours, ptr::null_mut());
        }
    }

    /// Handles the signal. Calls only functions that are safe in a signal handler: atomic loads, `write`, `_exit`,
    /// `sigaction` and `raise`.
    extern "C" fn handle(signal: libc::c_int, info: *mut libc::siginfo_t, _: *mut libc::c_void) {
        // SAFETY: with SA_SIGINFO, the system passes a valid siginfo_t, which for SIGBUS contains an address.
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
                // SAFETY: the texts are static. The name lives as long as its map, from which the interrupted thread
                // is reading. A failed write cannot be handled.
                let _ = unsafe { libc::write(descriptor, text.cast(), len) };
            }
            // SAFETY: `_exit` ends the process at once and is safe in a signal handler.
            unsafe { libc::_exit(report.status.into()) };
        }
        // The address is in none of the maps, so the previous handler is restored and takes over.
        // SAFETY: the action is the one that the system returned for this signal.
        unsafe {
            if let Some(before) = BEFORE_US.get() {
                libc::sigaction(signal, before, ptr::null_mut());
            }
            libc::raise(signal);
        }
    }
}
