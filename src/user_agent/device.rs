//! The device that a session is used on, as the list of sessions shows it to its owner.
//!
//! The names follow the `user-agents` package of Python, for those who move from it: common browsers and systems have its
//! names. More makers are known here, and rare devices may be called otherwise. A header is what a stranger sends: it is looked at once, to a length that no browser reaches, and nothing of it is
//! believed beyond these few words.

mod browser;
mod header;
mod maker;
mod system;

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use self::header::Header;
use super::{ClientHints, UNKNOWN};

/// What the list of sessions says about a session's device.
///
/// The store keeps it as JSON. What another release wrote is read as far as it goes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Device {
    /// The operating system, `"Other"` when unknown.
    pub os: String,
    /// The browser or program, `"Other"` when unknown.
    pub browser: String,
    /// The maker of the device.
    pub brand: Option<String>,
    /// The model of the device.
    pub model: Option<String>,
    /// The family of the device, `"Other"` when unknown.
    pub family: String,
    /// Whether it is a telephone.
    pub is_mobile: bool,
    /// Whether it is a tablet.
    pub is_tablet: bool,
}

const OTHER: &str = "Other";
/// The most characters of a name that a client chose.
const LONGEST_NAME: usize = 64;

impl Default for Device {
    /// A device of which nothing is known.
    fn default() -> Self {
        Self {
            os: OTHER.to_owned(),
            browser: OTHER.to_owned(),
            brand: None,
            model: None,
            family: OTHER.to_owned(),
            is_mobile: false,
            is_tablet: false,
        }
    }
}

impl Device {
    /// Reads the device from a User-Agent header and from the client hints that came with it, which are believed where they
    /// say more.
    pub fn of(user_agent: &str, hints: &ClientHints) -> Self {
        let header = Header::new(user_agent);
        let from_header = system::name(&header);
        let os = system::hinted(from_header, hints).or(from_header).unwrap_or(OTHER);
        if let Some(bot) = browser::bot(&header) {
            return Self::bot(os, bot);
        }
        let hardware = Hardware::of(&header, os, hints);
        let small = hardware.kind != Kind::Other;
        let named = browser::name(&header, os);
        let browser = browser::hinted(named.as_deref(), hints, small).or(named);
        Self {
            os: os.to_owned(),
            browser: browser.and_then(|name| shown(&name)).unwrap_or_else(|| OTHER.to_owned()),
            brand: hardware.brand.and_then(shown),
            model: hardware.model.and_then(shown),
            family: hardware.family.and_then(|family| shown(&family)).unwrap_or_else(|| OTHER.to_owned()),
            is_mobile: hardware.kind == Kind::Phone,
            is_tablet: hardware.kind == Kind::Tablet,
        }
    }

    /// A program that nobody sits before. One that pretends to be a telephone wants the pages that telephones get.
    fn bot(os: &str, name: &str) -> Self {
        let phone = matches!(os, "Android" | "iOS");
        Self {
            os: os.to_owned(),
            browser: shown(name).unwrap_or_else(|| OTHER.to_owned()),
            brand: Some("Spider".to_owned()),
            model: Some(if phone { "Smartphone" } else { "Desktop" }.to_owned()),
            family: "Spider".to_owned(),
            is_mobile: phone,
            is_tablet: false,
        }
    }
}

/// A name that a client chose, fit to be shown: short, and without control characters.
fn shown(name: &str) -> Option<String> {
    let name: String = name.chars().filter(|letter| !letter.is_control()).take(LONGEST_NAME).collect();
    let name = name.trim();
    (!name.is_empty()).then(|| name.to_owned())
}

/// What one holds in one's hands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Phone,
    Tablet,
    Other,
}

#[derive(Debug)]
struct Hardware<'a> {
    brand: Option<&'a str>,
    model: Option<&'a str>,
    family: Option<Cow<'a, str>>,
    kind: Kind,
}

impl<'a> Hardware<'a> {
    const UNKNOWN: Self = Self { brand: None, model: None, family: None, kind: Kind::Other };

    /// A device whose model says who made it.
    const fn new(brand: &'a str, model: &'a str, kind: Kind) -> Self {
        Self { brand: Some(brand), model: Some(model), family: Some(Cow::Borrowed(model)), kind }
    }

    /// A model by a maker, or by nobody knows whom. Google's own names are families by themselves.
    fn by(maker: Option<&'static str>, model: &'a str, kind: Kind) -> Self {
        match maker {
            None if kind == Kind::Tablet => Self::new("Generic_Android_Tablet", model, kind),
            None => Self::new("Generic_Android", model, kind),
            Some(maker @ "Google") => Self::new(maker, model, kind),
            Some(maker) => {
                let model = maker::without_maker(model, maker);
                Self { family: Some(Cow::Owned(format!("{maker} {model}"))), ..Self::new(maker, model, kind) }
            }
        }
    }

    fn of(header: &Header<'a>, os: &str, hints: &'a ClientHints) -> Self {
        let mut found = Self::from_header(header, os, hints);
        if os != "Android" && found.kind == Kind::Other && hints.mobile == Some(true) {
            found.kind = Kind::Phone;
        }
        if let Some(model) = hints.model.as_deref() {
            let brand = found.brand;
            found = Self::by(maker::maker(model), model, found.kind);
            if os != "Android" && maker::maker(model).is_none() {
                found.brand = brand;
            }
        }
        found
    }

    fn from_header(header: &Header<'a>, os: &str, hints: &ClientHints) -> Self {
        match os {
            "iOS" => Self::of_ios(header),
            "tvOS" => Self::new("Apple", "AppleTV", Kind::Other),
            "watchOS" => Self::new("Apple", "Apple Watch", Kind::Other),
            "Mac OS X" => Self::new("Apple", "Mac", Kind::Other),
            "Android" => Self::of_android(header, hints),
            "Windows Phone" => Self::of_windows_phone(header),
            "Windows" if header.runs_on(&["Xbox One"]) => Self::new("Microsoft", "Xbox One", Kind::Other),
            "Windows" if header.text.contains("Xbox") => Self::new("Microsoft", "Xbox", Kind::Other),
            "PlayStation" => Self::new("Sony", console(header, PLAYSTATIONS, "PlayStation"), Kind::Other),
            "Nintendo" => Self::new("Nintendo", console(header, NINTENDOS, "Nintendo"), Kind::Other),
            "Tizen" => Self::of_tizen(header),
            "webOS" => Self::new("LG", "Smart TV", Kind::Other),
            "KaiOS" => Self::of_kaios(header),
            "BlackBerry OS" => Self { brand: Some("BlackBerry"), kind: Kind::Phone, ..Self::UNKNOWN },
            "Symbian OS" => Self { kind: Kind::Phone, ..Self::UNKNOWN },
            _ if header.has_product(&["Kindle"]) => Self::new("Amazon", "Kindle", Kind::Tablet),
            OTHER => Self { kind: old_phone(header), ..Self::UNKNOWN },
            _ => Self::UNKNOWN,
        }
    }

    fn of_ios(header: &Header<'_>) -> Self {
        let says = |word: &str| header.text.contains(word);
        match () {
            () if says("iPad") => Self::new("Apple", "iPad", Kind::Tablet),
            () if says("iPod") => Self::new("Apple", "iPod", Kind::Phone),
            () if says("iPhone") => Self::new("Apple", "iPhone", Kind::Phone),
            // A browser that runs on iOS and says it runs on a Mac: an iPad does so unless told otherwise.
            () if header.runs_on(&["Macintosh"]) => Self::new("Apple", "iPad", Kind::Tablet),
            () => Self { brand: Some("Apple"), ..Self::UNKNOWN },
        }
    }

    fn of_android(header: &Header<'a>, hints: &ClientHints) -> Self {
        let model = maker::model(header);
        let kind = match model {
            Some(model) if maker::is_screen(model) => Kind::Other,
            _ if header.text.contains("TV;") || header.has_product(&["CrKey"]) => Kind::Other,
            model => android_kind(header, model, hints),
        };
        let Some(model) = model else {
            return match kind {
                Kind::Phone => Self {
                    brand: Some("Generic"),
                    model: Some("Smartphone"),
                    family: Some("Generic Smartphone".into()),
                    kind,
                },
                Kind::Tablet => {
                    Self { brand: Some("Generic"), model: Some("Tablet"), family: Some("Generic Tablet".into()), kind }
                }
                Kind::Other => Self::UNKNOWN,
            };
        };
        // The lists that these names are taken from know Samsung's tablets by their build alone.
        let known = match maker::maker(model) {
            Some("Samsung") if kind == Kind::Tablet && !header.text.contains("Build/") => None,
            maker => maker,
        };
        Self::by(known, model, kind)
    }

    /// `(Windows Phone 10.0; Android 6.0.1; Microsoft; Lumia 950)`: the maker and the model come last.
    fn of_windows_phone(header: &Header<'a>) -> Self {
        let mut last = header.system.iter().rev().copied();
        match (last.next(), last.next()) {
            (Some(model), Some(brand)) if header.system.len() > 3 => Self::new(brand, model, Kind::Phone),
            _ => Self { kind: Kind::Phone, ..Self::UNKNOWN },
        }
    }

    fn of_tizen(header: &Header<'a>) -> Self {
        match header.system.iter().find_map(|field| field.strip_prefix("SAMSUNG ")) {
            Some(model) if header.has_product(&["Mobile"]) => Self::new("Samsung", model, Kind::Phone),
            _ => Self::new("Samsung", "Smart TV", Kind::Other),
        }
    }

    /// `(Mobile; Nokia_8110_4G; rv:48.0)`
    fn of_kaios(header: &Header<'a>) -> Self {
        let model = header.system.iter().copied().find(|field| *field != "Mobile" && !field.starts_with("rv:"));
        let Some(model) = model else { return Self { kind: Kind::Phone, ..Self::UNKNOWN } };
        match maker::maker(model) {
            None => Self { brand: None, ..Self::by(None, model, Kind::Phone) },
            maker => Self::by(maker, model, Kind::Phone),
        }
    }
}

const PLAYSTATIONS: &[&str] =
    &["PlayStation 5", "PlayStation 4", "PlayStation Vita", "PlayStation Portable", "PLAYSTATION 3", "PlayStation 3"];
const NINTENDOS: &[&str] = &["Nintendo Switch", "Nintendo WiiU", "Nintendo Wii", "Nintendo 3DS", "Nintendo DSi"];

/// Which console of a maker's it is.
fn console(header: &Header<'_>, models: &[&'static str], unknown: &'static str) -> &'static str {
    models.iter().find(|model| header.text.contains(**model)).copied().unwrap_or(unknown)
}

/// Telephone or tablet: by the hint, by what the browser says, or for programs that say neither by the model.
fn android_kind(header: &Header<'_>, model: Option<&str>, hints: &ClientHints) -> Kind {
    let says = |field: &str| header.system.contains(&field);
    let tablet = match hints.mobile {
        Some(mobile) => !mobile,
        None if says("Tablet") => true,
        None if says("Mobile") || header.text.contains("Opera M") => false,
        None if header.is_browser() => !header.is_mobile_safari(),
        None => model.is_some_and(maker::is_tablet),
    };
    if tablet { Kind::Tablet } else { Kind::Phone }
}

/// Telephones from before there were systems to name.
fn old_phone(header: &Header<'_>) -> Kind {
    let known = woothee::parser::Parser::new().parse(header.text);
    let phone =
        known.is_some_and(|known| known.name != UNKNOWN && matches!(known.category, "mobilephone" | "smartphone"));
    if phone { Kind::Phone } else { Kind::Other }
}

#[cfg(test)]
mod tests;
