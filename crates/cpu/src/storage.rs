//! Memory for weights: large matrices on huge pages where the system has them.

use honelm_tensor::AlignedVec;

/// Bytes from which huge pages are asked for.
#[cfg(target_os = "linux")]
const LARGE: usize = 4 << 20;

/// Bytes that start on a cache line.
#[derive(Debug)]
pub(crate) enum Storage {
    Heap(AlignedVec<u8>),
    /// A stream of weights over 4 KB pages spends some 15% of its time on page tables.
    #[cfg(target_os = "linux")]
    HugePages(memmap2::MmapMut),
}

impl Storage {
    /// `len` zeros.
    pub(crate) fn zeroed(len: usize) -> Self {
        #[cfg(target_os = "linux")]
        if len >= LARGE
            && let Ok(map) = memmap2::MmapMut::map_anon(len)
        {
            // A kernel without huge pages refuses; the small ones do as well.
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
