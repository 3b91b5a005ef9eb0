use bytemuck::Pod;

/// The alignment of every [`AlignedVec`] in bytes: one cache line, or one AVX-512 register.
const ALIGNMENT: usize = 64;

/// A fixed-length buffer of plain values that starts on a 64-byte boundary.
#[derive(Debug)]
pub struct AlignedVec<T> {
    storage: Vec<T>,
    start: usize,
    len: usize,
}

impl<T: Pod> AlignedVec<T> {
    /// Returns `len` zeros. The allocator provides untouched zero pages, so their cost is paid on the first write.
    #[must_use]
    pub fn zeroed(len: usize) -> Self {
        let width = size_of::<T>().max(1);
        assert!(ALIGNMENT.is_multiple_of(width), "element of {width} bytes does not divide {ALIGNMENT}");
        let storage = vec![T::zeroed(); len + ALIGNMENT / width - 1];
        let address = storage.as_ptr() as usize;
        let start = (address.next_multiple_of(ALIGNMENT) - address) / width;
        Self { storage, start, len }
    }

    /// Copies `values` into an aligned buffer.
    #[must_use]
    pub fn from_slice(values: &[T]) -> Self {
        let mut out = Self::zeroed(values.len());
        out.copy_from_slice(values);
        out
    }
}

impl<T: Pod> Clone for AlignedVec<T> {
    fn clone(&self) -> Self {
        Self::from_slice(self)
    }
}

impl<T> std::ops::Deref for AlignedVec<T> {
    type Target = [T];
    fn deref(&self) -> &[T] {
        &self.storage[self.start..self.start + self.len]
    }
}

impl<T> std::ops::DerefMut for AlignedVec<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        &mut self.storage[self.start..self.start + self.len]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn starts_on_a_cache_line_and_holds_its_values() {
        for len in [0usize, 1, 15, 16, 1000] {
            let values: Vec<f32> = (0..len).map(|i| i as f32).collect();
            let aligned = AlignedVec::from_slice(&values);
            assert_eq!(aligned.as_ptr() as usize % ALIGNMENT, 0);
            assert_eq!(&*aligned, &values[..]);
            assert_eq!(&*aligned.clone(), &values[..]);
        }
        assert_eq!(AlignedVec::<u8>::zeroed(3).as_ptr() as usize % ALIGNMENT, 0);
    }
}
