use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::{Bytes, BytesMut};

use crate::{FileWatch, FormatError};

/// How much of a file is asked for first: the whole header of most.
const FIRST: u64 = 1 << 20;

/// The contents of a file: all of them (usually a memory map), or those parts that were fetched so far.
///
/// A reader that needs what is not here fails with [`FormatError::NotFetched`] and the range that it needs. Whoever
/// owns the connection fetches it, [inserts](FileData::insert) it and calls again: so the same readers serve files on
/// disk and files behind a network, and nothing in them waits.
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
    /// By their offsets; what follows the first one directly is joined to it.
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
    /// A file of `len` bytes of which nothing is here yet.
    #[must_use]
    pub fn remote(len: u64) -> Self {
        Self(Contents::Parts(Arc::new(Parts { len, here: Mutex::default() })))
    }

    /// A file in memory.
    #[cfg(not(target_arch = "wasm32"))]
    pub(crate) fn mapped(map: crate::file::Map) -> Self {
        Self(Contents::Mapped(Bytes::from_owner(map.clone()), map))
    }

    /// All bytes, or the parts that are here.
    fn whole(&self) -> Result<&Bytes, &Arc<Parts>> {
        match &self.0 {
            Contents::Whole(bytes) => Ok(bytes),
            #[cfg(not(target_arch = "wasm32"))]
            Contents::Mapped(bytes, _) => Ok(bytes),
            Contents::Parts(parts) => Err(parts),
        }
    }

    /// All bytes, where they are here.
    #[must_use]
    pub fn bytes(&self) -> Option<&Bytes> {
        self.whole().ok()
    }

    /// Bytes of the file.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.whole().map_or_else(|parts| parts.len, |bytes| bytes.len() as u64)
    }

    /// Whether the file has no bytes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Adds fetched bytes from `offset` on, for all clones. A file that is here anyway ignores them.
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

    /// Gives memory back: drops what was fetched, which tensors that were read keep no longer than they live, and the pages of a
    /// map, which come from the file again where they are read again.
    pub fn forget(&self) {
        match &self.0 {
            Contents::Whole(_) => {}
            #[cfg(not(target_arch = "wasm32"))]
            Contents::Mapped(_, map) => map.release(),
            Contents::Parts(parts) => parts.lock().clear(),
        }
    }

    /// Notices when the file is written to, where it is mapped.
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

    /// The bytes of `range`; `file` names the file in the error.
    ///
    /// # Errors
    /// [`FormatError::NotFetched`].
    ///
    /// # Panics
    /// Where the range is not within the file: readers check extents first.
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

    /// Parses the beginning of the file. Where `parse` finds that too short and there is more to fetch, that is asked for.
    ///
    /// # Errors
    /// [`FormatError::NotFetched`], and those of `parse`.
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
