//! The keys of upstreams and clients, from where a gateway file says they are.

use std::path::Path;

use honelm_gateway::policy::Key;
use zeroize::Zeroizing;

/// The most bytes of a key file.
const MOST: u64 = 1 << 16;

/// Reads a key: the variable, or the first line of the file. `place` names its table in errors.
///
/// # Errors
/// A variable that is not set, a file that cannot be read, and a key that is empty or has characters that no header can carry.
pub(crate) fn read(place: &str, key: &Key) -> Result<Option<Zeroizing<String>>, honelm::Error> {
    let (source, text) = match key {
        Key::None => return Ok(None),
        Key::Env(name) => {
            let unset = |_| honelm::Error::Usage(format!("{place}: the environment variable {name} is not set"));
            (format!("the environment variable {name}"), std::env::var(name).map_err(unset)?)
        }
        Key::File(path) => {
            let bytes = Zeroizing::new(honelm::read_input(Path::new(path), MOST).map_err(honelm::Error::from)?);
            (format!("the file {path}"), String::from_utf8_lossy(&bytes).into_owned())
        }
    };
    let text = Zeroizing::new(text);
    let line = Zeroizing::new(text.lines().next().unwrap_or_default().trim().to_owned());
    if line.is_empty() || !line.bytes().all(|byte| byte.is_ascii_graphic()) {
        let expected = "expected a line of visible ASCII characters";
        return Err(honelm::Error::Usage(format!("{place}: found no key in {source}, {expected}")));
    }
    Ok(Some(line))
}
