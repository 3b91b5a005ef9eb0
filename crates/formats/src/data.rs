use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::{Bytes, BytesMut};

use crate::{FileWatch, FormatError};

/// The number of bytes fetched first, which contain the whole header of most files.
const FIRST: u64 = 1 << 20;

/// The contents of a file: all of them (usually a memory map), or the parts that were fetched so far.
///
/// A reader that needs a missing part fails with [`FormatError::NotFetched`] and the range that it needs. The
/// caller fetches that range, [inserts](FileData::insert) it and tries again. The same readers therefore serve
/// local and remote files, and never wait for a network.
///
/// ```
/// use honelm_formats::{FileData, FormatError, gguf::Gguf};
///
/// # fn read_from_server(range: &std::ops::Range<u64>) -> bytes::Bytes { bytes::Bytes::from(vec![0; (range.end - range.start) as usize]) }
/// let data = FileData::remote(400);
/// let result = loop {
///     match Gguf::parse(data.clone(), "model.gguf") {
///         Err(FormatError::NotFetched { range, .. }) => data.insert(range.start, read_from_server(&range)),
///         other => break other,
///     }
/// };
/// assert!(result.is_err(), "400 zeros are no model");
/// ```
#[derive(Debug, Clone)]
pub struct FileData(Contents);

#[derive(Debug, Clone)]
enum Contents {
    Whole(Bytes),
    #[cfg(not(target_arch = "wasm32"))]
    Mapped(Bytes, crate::file::Map),
    Parts(Arc<Parts>),
}

#[derive(Debug)]
struct Parts {
    len: u64,
    /// The parts by offset. A part that directly follows the first one is joined to it.
    here: Mutex<BTreeMap<u64, Bytes>>,
}

impl From<Bytes> for FileData {
    fn from(bytes: Bytes) -> Self {
        Self(Contents::Whole(bytes))
    }
}

impl From<Vec<u8>> for FileData {
    fn from(bytes: Vec<u8>) -> Self {
        Bytes::from(bytes).into()
    }
}

impl FileData {
    /// Returns a file of `len` bytes of which nothing has been fetched yet.
    #[must_use]
    pub fn remote(len: u64) -> Self {
        Self(Contents::Parts(Arc::new(Parts { len, here: Mutex::default() })))
    }

    /// Returns a mapped file.
    #[cfg(not(target_arch = "wasm32"))]
    pub(crate) fn mapped(map: crate::file::Map) -> Self {
        Self(Contents::Mapped(Bytes::from_owner(map.clone()), map))
    }

    /// Returns all bytes, or the parts fetched so far.
    fn whole(&self) -> Result<&Bytes, &Arc<Parts>> {
        match &self.0 {
            Contents::Whole(bytes) => Ok(bytes),
            #[cfg(not(target_arch = "wasm32"))]
            Contents::Mapped(bytes, _) => Ok(bytes),
            Contents::Parts(parts) => Err(parts),
        }
    }

    /// Returns all bytes of the file, or `None` if it is remote.
    #[must_use]
    pub fn bytes(&self) -> Option<&Bytes> {
        self.whole().ok()
    }

    /// Returns the length of the file in bytes.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.whole().map_or_else(|parts| parts.len, |bytes| bytes.len() as u64)
    }

    /// Returns `true` if the file has no bytes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Adds bytes fetched from `offset` on, for all clones. Has no effect on a file that is not remote.
    pub fn insert(&self, offset: u64, bytes: Bytes) {
        let Err(parts) = self.whole() else { return };
        let mut here = parts.lock();
        if let Some(head) = here.get_mut(&0)
            && head.len() as u64 == offset
        {
            let mut joined = BytesMut::with_capacity(head.len() + bytes.len());
            joined.extend_from_slice(head);
            joined.extend_from_slice(&bytes);
            *head = joined.freeze();
        } else {
            here.insert(offset, bytes);
        }
    }

    /// Releases memory. Drops all fetched parts; tensors already read keep their data for as long as they live. The
    /// pages of a memory map are read from the file again when they are next used.
    pub fn forget(&self) {
        match &self.0 {
            Contents::Whole(_) => {}
            #[cfg(not(target_arch = "wasm32"))]
            Contents::Mapped(_, map) => map.release(),
            Contents::Parts(parts) => parts.lock().clear(),
        }
    }

    /// Returns a watch that detects writes to the file, if it is mapped.
    #[must_use]
    pub fn watch(&self) -> FileWatch {
        FileWatch::of([self])
    }

    #[cfg(not(target_arch = "wasm32"))]
    pub(crate) fn weak_map(&self) -> Option<crate::file::WeakMap> {
        match &self.0 {
            Contents::Mapped(_, map) => Some(map.downgrade()),
            Contents::Whole(_) | Contents::Parts(_) => None,
        }
    }

    /// Returns the bytes of `range`. Errors call the file `file`.
    ///
    /// # Errors
    /// [`FormatError::NotFetched`] if a part of the range is missing.
    ///
    /// # Panics
    /// Panics if the range is not within the file; readers check extents first.
    pub(crate) fn range(&self, file: &str, range: Range<u64>) -> Result<Bytes, FormatError> {
        assert!(range.start <= range.end && range.end <= self.len(), "a range beyond the file");
        let of = |bytes: &Bytes, start: u64| {
            bytes.slice((range.start - start) as usize..(range.end - start) as usize) // within `bytes`, so it fits
        };
        match self.whole() {
            Ok(bytes) => Ok(of(bytes, 0)),
            Err(_) if range.is_empty() => Ok(Bytes::new()),
            Err(parts) => {
                let here = parts.lock();
                let part = here.range(..=range.start).next_back();
                let part = part.filter(|(start, bytes)| *start + bytes.len() as u64 >= range.end);
                part.map(|(start, bytes)| of(bytes, *start)).ok_or_else(|| not_fetched(file, range.clone()))
            }
        }
    }

    /// Parses the beginning of the file. If `parse` finds it truncated and the file is longer, asks for more.
    ///
    /// # Errors
    /// [`FormatError::NotFetched`], and the errors of `parse`.
    pub(crate) fn parse_head<T>(
        &self,
        file: &str,
        parse: impl FnOnce(&Bytes) -> Result<T, FormatError>,
    ) -> Result<T, FormatError> {
        let parts = match self.whole() {
            Ok(bytes) => return parse(bytes),
            Err(parts) => parts,
        };
        let head = parts.lock().get(&0).cloned().unwrap_or_default();
        let have = head.len() as u64;
        let more = |upto: u64| not_fetched(file, have..upto.max(FIRST).min(parts.len));
        if have < parts.len.min(FIRST) {
            return Err(more(FIRST));
        }
        match parse(&head) {
            Err(FormatError::Truncated { .. } | FormatError::ImplausibleCount { .. }) if have < parts.len => {
                Err(more(have.saturating_mul(2)))
            }
            other => other,
        }
    }
}

impl Parts {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<u64, Bytes>> {
        self.here.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn not_fetched(file: &str, range: Range<u64>) -> FormatError {
    FormatError::NotFetched { file: file.to_owned(), range }
}
