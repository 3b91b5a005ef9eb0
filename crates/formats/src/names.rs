/// Returns `true` if Windows takes a file of this name for a device, in any folder: `NUL`, `con.json`, `COM1 .txt`.
#[must_use]
pub fn is_device_name(name: &str) -> bool {
    const DEVICES: [&str; 7] = ["con", "prn", "aux", "nul", "conin$", "conout$", "clock$"];
    // Windows ignores the extension and spaces before it.
    let stem = name.split(['.', ':']).next().unwrap_or_default().trim_end_matches(' ').to_lowercase();
    let numbered = ["com", "lpt"].iter().find_map(|port| stem.strip_prefix(port));
    let is_port = numbered.is_some_and(|number| {
        let mut digits = number.chars();
        matches!((digits.next(), digits.next()), (Some('0'..='9' | '¹' | '²' | '³'), None))
    });
    is_port || DEVICES.contains(&stem.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_windows_devices_are_known_in_every_form() {
        for name in
            ["NUL", "nul.json", "CON.json", "Aux", "prn.tar.gz", "com1.txt", "LPT9", "COM¹", "con .json", "CONIN$"]
        {
            assert!(is_device_name(name), "{name}");
        }
        for name in
            ["", "null.json", "config.json", "com.json", "com10.txt", "company", "lptx", "a.nul", "aux1", ".con"]
        {
            assert!(!is_device_name(name), "{name}");
        }
    }
}
