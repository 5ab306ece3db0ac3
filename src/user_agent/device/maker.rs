//! Android's devices: the model that a header names, and who makes it.

use super::header::Header;

/// Makers by what the names of their models begin with; upper and lower case are the same. First match wins.
const BY_PREFIX: &[(&str, &str)] = &[
    ("Pixel", "Google"),
    ("Nexus", "Google"),
    ("Chromecast", "Google"),
    ("SM-", "Samsung"),
    ("GT-", "Samsung"),
    ("SAMSUNG", "Samsung"),
    ("Galaxy", "Samsung"),
    ("SCH-", "Samsung"),
    ("SGH-", "Samsung"),
    ("SPH-", "Samsung"),
    ("SHV-", "Samsung"),
    ("Redmi", "Xiaomi"),
    ("POCO", "Xiaomi"),
    ("Mi ", "Xiaomi"),
    ("MIX ", "Xiaomi"),
    ("MIBOX", "Xiaomi"),
    ("Xiaomi", "Xiaomi"),
    ("OnePlus", "OnePlus"),
    ("AC20", "OnePlus"),
    ("BE20", "OnePlus"),
    ("DN21", "OnePlus"),
    ("EB21", "OnePlus"),
    ("GM19", "OnePlus"),
    ("HD19", "OnePlus"),
    ("IN20", "OnePlus"),
    ("KB20", "OnePlus"),
    ("LE21", "OnePlus"),
    ("NE22", "OnePlus"),
    ("Huawei", "Huawei"),
    ("Honor", "Honor"),
    ("moto", "Motorola"),
    ("Xperia", "Sony"),
    ("Sony", "Sony"),
    ("BRAVIA", "Sony"),
    ("SO-", "Sony"),
    ("SOV", "Sony"),
    ("XQ-", "Sony"),
    ("LG", "LG"),
    ("LM-", "LG"),
    ("Nokia", "Nokia"),
    ("TA-1", "Nokia"),
    ("HTC", "HTC"),
    ("Asus", "Asus"),
    ("OPPO", "OPPO"),
    ("CPH", "OPPO"),
    ("Realme", "Realme"),
    ("RMX", "Realme"),
    ("vivo", "vivo"),
    ("Lenovo", "Lenovo"),
    ("TB-", "Lenovo"),
    ("KF", "Amazon"),
    ("AFT", "Amazon"),
    ("Kindle", "Amazon"),
    ("SHIELD", "NVIDIA"),
    ("FP3", "Fairphone"),
    ("FP4", "Fairphone"),
    ("FP5", "Fairphone"),
    ("Fairphone", "Fairphone"),
    ("Nothing", "Nothing"),
    ("A063", "Nothing"),
    ("A065", "Nothing"),
    ("A142", "Nothing"),
    ("TECNO", "Tecno"),
    ("Infinix", "Infinix"),
    ("ZTE", "ZTE"),
    ("BlackBerry", "BlackBerry"),
    ("CUBOT", "Cubot"),
    ("Quest", "Meta"),
    ("Surface", "Microsoft"),
    ("Lumia", "Microsoft"),
];

/// Makers who name their models by a pattern: `9` is a digit, `A` a capital, `.` the end, anything else
/// itself; what follows is free.
const BY_PATTERN: &[(&str, &str)] = &[
    ("V9999", "vivo"),
    ("XT9999", "Motorola"),
    ("TB999", "Lenovo"),
    ("ASUS_", "Asus"),
    ("ZS999", "Asus"),
    ("ZB999", "Asus"),
    ("ZE999", "Asus"),
    ("M9999A", "Xiaomi"),
    ("299999", "Xiaomi"),
    ("AAA-L", "Huawei"),
    ("AAA-A", "Huawei"),
    ("AAA-T", "Huawei"),
    ("AAA-W", "Huawei"),
    ("AAA-N", "Honor"),
    ("A9999.", "Sony"),
];

/// Words in the names of models that are no telephones.
const TABLETS: &[&str] =
    &["Tab", "tab ", "Pad", "pad ", "SM-T", "SM-X", "SM-P", "TB-", "KF", "MediaPad", "Nexus 7", "Nexus 10"];
const SCREENS: &[&str] = &["TV", "AFT", "BRAVIA", "Chromecast", "SHIELD", "MIBOX"];

/// The model that the header names: the first field behind `Android 14` that is neither a language nor a flag.
pub(super) fn model<'a>(header: &Header<'a>) -> Option<&'a str> {
    let mut fields = header.system.iter().skip_while(|field| !field.starts_with("Android"));
    fields.next()?;
    let model = fields.find(|field| !is_flag(field))?;
    let model = model.split_once("Build/").map_or(*model, |(model, _)| model).trim();
    // `SAMSUNG SM-G960U`: the maker, and then the name that everybody else uses.
    let model = model.strip_prefix("SAMSUNG ").unwrap_or(model);
    (!model.is_empty()).then_some(model)
}

fn is_flag(field: &str) -> bool {
    let (language, country) = field.split_once(['-', '_']).unwrap_or((field, ""));
    let is_language = language.len() == 2
        && language.bytes().all(|letter| letter.is_ascii_lowercase())
        && matches!(country.len(), 0 | 2)
        && country.bytes().all(|letter| letter.is_ascii_alphabetic());
    matches!(field, "wv" | "U" | "Mobile" | "Tablet" | "Phone")
        || ["rv:", "Opera", "Build/"].iter().any(|start| field.starts_with(start))
        || is_language
}

/// Who makes a model.
pub(super) fn maker(model: &str) -> Option<&'static str> {
    let begins = |prefix: &str| model.get(..prefix.len()).is_some_and(|start| start.eq_ignore_ascii_case(prefix));
    if let Some((_, maker)) = BY_PREFIX.iter().find(|(prefix, _)| begins(prefix)) {
        return Some(maker);
    }
    BY_PATTERN.iter().find(|(pattern, _)| fits(model, pattern)).map(|(_, maker)| *maker)
}

/// A model without its maker's name before it: who made it is said beside it.
pub(super) fn without_maker<'a>(model: &'a str, maker: &str) -> &'a str {
    let (start, rest) = model.split_at_checked(maker.len()).unwrap_or(("", ""));
    let rest = start.eq_ignore_ascii_case(maker).then_some(rest);
    let rest = rest.and_then(|rest| rest.strip_prefix([' ', '_', '-'])).map(str::trim);
    rest.filter(|rest| !rest.is_empty()).unwrap_or(model)
}

fn fits(model: &str, pattern: &str) -> bool {
    let mut letters = model.bytes();
    pattern.bytes().all(|wanted| match (wanted, letters.next()) {
        (b'.', letter) => letter.is_none(),
        (b'9', Some(letter)) => letter.is_ascii_digit(),
        (b'A', Some(letter)) => letter.is_ascii_uppercase(),
        (wanted, letter) => letter == Some(wanted),
    })
}

/// Whether a model is a tablet by its name alone.
pub(super) fn is_tablet(model: &str) -> bool {
    TABLETS.iter().any(|word| model.contains(word))
}

/// Whether a model is a television or a box beside one.
pub(super) fn is_screen(model: &str) -> bool {
    SCREENS.iter().any(|word| model.contains(word))
}
