use std::ops::Range;

/// The largest number of shards of a model. GGUF counts them in 16 bits.
pub(crate) const MAX_SHARDS: usize = u16::MAX as usize;

/// Returns the name of shard `no` (from 0) of `count` without its extension, as llama.cpp and Hugging Face write
/// it: `model-00001-of-00003`.
#[must_use]
pub fn shard_name(stem: &str, no: usize, count: usize) -> String {
    format!("{stem}-{:05}-of-{count:05}", no + 1)
}

/// Splits the name of a shard, without its extension, into the name before `-00001-of-00003`, the shard's number
/// (from 0) and the number of shards. Returns `None` for any other name.
#[must_use]
pub fn parse_shard_name(name: &str) -> Option<(&str, usize, usize)> {
    let number = |digits: &str| {
        let plain = digits.len() >= 5 && digits.bytes().all(|b| b.is_ascii_digit());
        if plain { digits.parse::<usize>().ok() } else { None }
    };
    let (rest, count) = name.rsplit_once("-of-")?;
    let (stem, no) = rest.rsplit_once('-')?;
    let (no, count) = (number(no)?.checked_sub(1)?, number(count)?);
    (no < count && !stem.is_empty()).then_some((stem, no, count))
}

/// Divides tensors into shards of at most `limit` bytes, each with at least one tensor. `sizes` are the sizes of
/// the tensors in a file. Every shard takes `fixed` bytes more, the first one `first` bytes more.
pub(crate) fn cut(sizes: &[u64], first: u64, fixed: u64, limit: u64) -> Vec<Range<usize>> {
    let (mut shards, mut start, mut size) = (Vec::new(), 0, first);
    for (i, &own) in sizes.iter().enumerate() {
        if i > start && size.saturating_add(own) > limit {
            shards.push(start..i);
            (start, size) = (i, fixed);
        }
        size = size.saturating_add(own);
    }
    shards.push(start..sizes.len());
    shards
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_back() {
        assert_eq!(shard_name("model", 0, 3), "model-00001-of-00003");
        assert_eq!(parse_shard_name("a-b-00002-of-00010"), Some(("a-b", 1, 10)));
        for wrong in
            ["model", "-00001-of-00002", "m-00000-of-00002", "m-00003-of-00002", "m-1-of-2", "m-+0001-of-00002"]
        {
            assert_eq!(parse_shard_name(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn shards_are_full_but_not_too_full() {
        assert_eq!(cut(&[4, 4, 4, 9, 1], 1, 0, 9), [0..2, 2..3, 3..4, 4..5]);
        assert_eq!(cut(&[100, 100], 50, 0, 1), [0..1, 1..2]);
        assert_eq!(cut(&[1, 2], 0, 0, u64::MAX).as_slice(), std::slice::from_ref(&(0..2)));
        assert_eq!(cut(&[], 7, 0, 1).as_slice(), std::slice::from_ref(&(0..0)));
    }
}
