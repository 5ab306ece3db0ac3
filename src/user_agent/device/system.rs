//! The name of the operating system, as the `user-agents` package of Python and its like call it.

use super::header::Header;
use crate::user_agent::ClientHints;

/// Browsers of iPhone and iPad, which name themselves even where they pretend to run on a Mac.
const ON_IOS: &[&str] = &["CriOS", "FxiOS", "EdgiOS", "OPiOS", "GSA", "Mobile"];

/// What a system's name is found by, in this order: many name one that they want to be taken for too.
const SIGNS: &[(&str, &str)] = &[
    ("Windows Phone", "Windows Phone"),
    ("Windows", "Windows"),
    ("Win64", "Windows"),
    ("Xbox", "Windows"),
    ("AppleTV", "tvOS"),
    ("Apple TV", "tvOS"),
    ("tvOS", "tvOS"),
    ("watchOS", "watchOS"),
    ("iPhone", "iOS"),
    ("iPad", "iOS"),
    ("iPod", "iOS"),
    ("iOS", "iOS"),
    ("Macintosh", "Mac OS X"),
    ("Mac OS X", "Mac OS X"),
    ("macOS", "Mac OS X"),
    ("PlayStation", "PlayStation"),
    ("PLAYSTATION", "PlayStation"),
    ("Nintendo", "Nintendo"),
    ("Tizen", "Tizen"),
    ("Web0S", "webOS"),
    ("webOS", "webOS"),
    ("BB10", "BlackBerry OS"),
    ("BlackBerry", "BlackBerry OS"),
    ("Symbian", "Symbian OS"),
    ("Android", "Android"),
    ("CrOS", "Chrome OS"),
    ("Ubuntu", "Ubuntu"),
    ("Fedora", "Fedora"),
    ("FreeBSD", "FreeBSD"),
    ("OpenBSD", "OpenBSD"),
    ("NetBSD", "NetBSD"),
    ("Linux", "Linux"),
    ("X11", "Linux"),
];

/// The system's name; `None` when the header does not say.
pub(super) fn name(header: &Header<'_>) -> Option<&'static str> {
    if header.has_product(&["KAIOS"]) {
        return Some("KaiOS");
    }
    let pretends_to_be_a_mac = header.runs_on(&["Macintosh"]) && header.has_product(ON_IOS);
    if pretends_to_be_a_mac {
        return Some("iOS");
    }
    if header.has_product(&["CFNetwork"]) {
        return Some(if header.text.contains("x86_64") { "Mac OS X" } else { "iOS" });
    }
    let named_in = |part: &str| SIGNS.iter().find(|(sign, _)| part.contains(sign)).map(|(_, name)| *name);
    // As many signs as there are, and each of them over the system's few fields.
    let system = SIGNS.iter().find(|(sign, _)| header.system.iter().any(|field| field.contains(sign)));
    system.map(|(_, name)| *name).or_else(|| named_in(header.text))
}

/// What the client hints say, where it is more than what the header says.
pub(super) fn hinted(from_header: Option<&'static str>, hints: &ClientHints) -> Option<&'static str> {
    match (hints.platform.as_deref()?, from_header) {
        // The distribution says more than its kernel.
        ("Linux", Some("Ubuntu" | "Fedora")) => None,
        ("Windows", _) => Some("Windows"),
        ("macOS", _) => Some("Mac OS X"),
        ("iOS", _) => Some("iOS"),
        ("Android", _) => Some("Android"),
        ("Linux", _) => Some("Linux"),
        ("Chrome OS" | "Chromium OS", _) => Some("Chrome OS"),
        _ => None,
    }
}
