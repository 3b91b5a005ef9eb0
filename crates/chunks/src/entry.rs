use crate::Digest;

const MAGIC: &[u8; 8] = b"honelmj1";
const HASH: usize = 64;

/// Returns the bytes of a journal's entry: a mark, the hash of the job's key, the entry's name and its contents, and the
/// contents.
#[must_use]
pub fn seal(key: &str, name: &str, contents: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(MAGIC.len() + HASH + contents.len());
    bytes.extend_from_slice(MAGIC);
    bytes.extend_from_slice(hash(key, name, contents).as_bytes());
    bytes.extend_from_slice(contents);
    bytes
}

/// Returns the contents of an entry that [`seal`] wrote; `None` if it is damaged or belongs to another job or name.
#[must_use]
pub fn unseal<'b>(key: &str, name: &str, bytes: &'b [u8]) -> Option<&'b [u8]> {
    let rest = bytes.strip_prefix(MAGIC)?;
    let (found, contents) = rest.split_at_checked(HASH)?;
    (found == hash(key, name, contents).as_bytes()).then_some(contents)
}

fn hash(key: &str, name: &str, contents: &[u8]) -> String {
    Digest::default().with(key).with(name).with(contents).hex()
}
