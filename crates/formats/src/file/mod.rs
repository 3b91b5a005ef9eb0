//! Access to the file system. The rest of this crate parses bytes.

mod atomic;
mod entry;
mod lock;
mod map;
mod output;
mod publish;
mod read;
mod temporary;

pub use atomic::{AtomicDir, AtomicFile, write_atomic};
pub use entry::{open_no_follow, refuse_special};
pub use lock::LockFile;
pub use map::{LostPage, map_file, report_lost_pages};
pub(crate) use map::{Map, WeakMap};
pub use output::OutputGate;
pub use publish::{publish, remove_output};
pub(crate) use read::read_small;
pub use read::{drop_cached, open_file, read_file, read_input, read_json, read_limited};
