//! The name of the browser or program, as the `user-agents` package of Python and its like call it.

use super::header::Header;
use crate::user_agent::{ClientHints, LIBRARY, UNKNOWN, first_product};

/// Products that name a browser whatever else is in the header, most telling first: a program that shows pages names
/// itself beside the browser it is made of, and every browser names those it wants to be taken for.
const BY_PRODUCT: &[(&str, &str)] = &[
    ("Instagram", "Instagram"),
    ("Snapchat", "Snapchat"),
    ("Pinterest", "Pinterest"),
    ("LinkedInApp", "LinkedIn"),
    ("Twitter", "Twitter"),
    ("TwitterAndroid", "Twitter"),
    ("BytedanceWebview", "TikTok"),
    ("musical_ly", "TikTok"),
    ("MicroMessenger", "WeChat"),
    ("KAKAOTALK", "KakaoTalk"),
    ("Line", "Line"),
    ("GSA", "Google"),
    ("Slack_SSB", "Slack Desktop Client"),
    ("Slack", "Slack Desktop Client"),
    ("Teams", "Microsoft Teams"),
    ("Electron", "Electron"),
    ("HeadlessChrome", "HeadlessChrome"),
    ("Vivaldi", "Vivaldi"),
    ("Brave", "Brave"),
    ("YaBrowser", "Yandex Browser"),
    ("Whale", "Whale"),
    ("UCBrowser", "UC Browser"),
    ("SamsungBrowser", "Samsung Internet"),
    // `XiaoMi/MiuiBrowser/14.4.0-g`
    ("XiaoMi", "MiuiBrowser"),
    ("HuaweiBrowser", "Huawei Browser"),
    ("HeyTapBrowser", "HeyTap Browser"),
    ("VivoBrowser", "Vivo Browser"),
    ("MQQBrowser", "QQ Browser Mobile"),
    ("QQBrowser", "QQ Browser"),
    ("Silk", "Amazon Silk"),
    ("Kindle", "Kindle"),
    ("DuckDuckGo", "DuckDuckGo"),
    ("Ddg", "DuckDuckGo"),
    ("Puffin", "Puffin"),
    ("NintendoBrowser", "Nintendo Browser"),
    ("EdgA", "Edge Mobile"),
    ("EdgiOS", "Edge Mobile"),
    ("OPiOS", "Opera Mini"),
    ("OPT", "Opera Touch"),
    ("OPX", "Opera GX"),
    ("FxiOS", "Firefox iOS"),
    ("Focus", "Firefox Focus"),
    ("Klar", "Firefox Klar"),
    ("CriOS", "Chrome Mobile iOS"),
    ("Konqueror", "Konqueror"),
    ("Epiphany", "Epiphany"),
    ("Falkon", "Falkon"),
    ("SeaMonkey", "SeaMonkey"),
    ("PaleMoon", "Pale Moon"),
    ("Waterfox", "Waterfox"),
    ("Chromium", "Chromium"),
];

/// Products that name a browser which has another name on a telephone or tablet. They come after those above.
const BY_PRODUCT_AND_KIND: &[(&str, &str, &str)] = &[
    ("Edg", "Edge", "Edge Mobile"),
    ("Edge", "Edge", "Edge Mobile"),
    ("OPR", "Opera", "Opera Mobile"),
    ("Firefox", "Firefox", "Firefox Mobile"),
];

/// Programs whose own name is not the one that people know.
const PROGRAMS: &[(&str, &str)] = &[("python-requests", "Python Requests"), ("Dalvik", "Android")];

/// The browser's or program's name; `None` for an empty header.
pub(super) fn name(header: &Header<'_>, os: &str) -> Option<String> {
    let name = if header.is_browser() { page_reader(header, os) } else { None };
    let name = name.or_else(|| program(header));
    name.filter(|name| !name.is_empty()).map(str::to_owned)
}

/// What reads pages, which all begin with `Mozilla/5.0`.
fn page_reader(header: &Header<'_>, os: &str) -> Option<&'static str> {
    if let Some(app) = facebook(header) {
        return Some(app);
    }
    if let Some((_, name)) = BY_PRODUCT.iter().find(|(product, _)| header.product(product).is_some()) {
        return Some(name);
    }
    let text = header.text;
    if text.contains("IEMobile") {
        return Some("IE Mobile");
    }
    if text.contains("Trident/") || text.contains("MSIE ") {
        return Some("IE");
    }
    if let Some(opera) = old_opera(header) {
        return Some(opera);
    }
    let small = matches!(os, "Android" | "iOS" | "Windows Phone" | "KaiOS");
    let by_kind = BY_PRODUCT_AND_KIND.iter().find(|(product, ..)| header.product(product).is_some());
    if let Some((_, desktop, mobile)) = by_kind {
        return Some(if small { mobile } else { desktop });
    }
    if header.has_product(&["Chrome"]) {
        return Some(match () {
            () if header.system.contains(&"wv") => "Chrome Mobile WebView",
            () if small && header.has_product(&["Mobile"]) => "Chrome Mobile",
            () => "Chrome",
        });
    }
    match os {
        "iOS" if header.has_product(&["Safari"]) => Some("Mobile Safari"),
        "iOS" if header.has_product(&["AppleWebKit"]) => Some("Mobile Safari UI/WKWebView"),
        "Android" if header.has_product(&["Safari"]) => Some("Android"),
        _ if header.has_product(&["Safari"]) => Some("Safari"),
        "Mac OS X" if header.has_product(&["AppleWebKit"]) => Some("Apple Mail"),
        _ => None,
    }
}

/// Facebook's programs, which say which one they are behind their name.
fn facebook(header: &Header<'_>) -> Option<&'static str> {
    let program = header.product("FBAN").or_else(|| header.product("FB_IAB"))?;
    let messenger = ["Messenger", "MESSENGER", "Orca"].iter().any(|word| program.contains(word));
    Some(if messenger { "Facebook Messenger" } else { "Facebook" })
}

/// Opera before it became a Chromium, and Opera Mini until today.
fn old_opera(header: &Header<'_>) -> Option<&'static str> {
    if header.text.contains("Opera Mini/") {
        return Some("Opera Mini");
    }
    header.product("Opera").map(|_| if header.text.contains("Opera Mobi/") { "Opera Mobile" } else { "Opera" })
}

/// What names itself in the first place, or what woothee knows by other signs.
fn program<'a>(header: &Header<'a>) -> Option<&'a str> {
    let own = first_product(header.text);
    if let Some((_, name)) = PROGRAMS.iter().find(|(product, _)| *product == own) {
        return Some(name);
    }
    if !header.is_browser() {
        return Some(own);
    }
    let known = woothee::parser::Parser::new().parse(header.text);
    known.map(|known| known.name).filter(|name| !matches!(*name, UNKNOWN | LIBRARY))
}

/// What the client hints know better: a browser whose User-Agent is Chrome's to the letter.
pub(super) fn hinted(from_header: Option<&str>, hints: &ClientHints, small: bool) -> Option<String> {
    let chrome = if small { "Chrome Mobile" } else { "Chrome" };
    let name = match (hints.brand()?, from_header) {
        // The header names a program that shows pages, or a browser of its own.
        (_, Some(name)) if !matches!(name, "Chrome" | "Chrome Mobile" | "Chromium") => return None,
        ("Google Chrome" | "Chromium" | "Android WebView", Some(_)) => return None,
        ("Google Chrome", None) => chrome,
        ("Microsoft Edge", _) if small => "Edge Mobile",
        ("Microsoft Edge", _) => "Edge",
        ("Opera", _) if small => "Opera Mobile",
        ("YaBrowser" | "Yandex", _) => "Yandex Browser",
        (brand, _) => brand,
    };
    Some(name.to_owned())
}

/// The name of a bot, should the header be one's. A bot stands where a program's name does, and names itself so: a word that
/// ends in what it is. Those that do not are listed.
pub(super) fn bot<'a>(header: &Header<'a>) -> Option<&'a str> {
    header
        .text
        .split([' ', ';', '(', ')', ',', '\t'])
        .filter_map(|word| word.split('/').next())
        .find(|name| is_bot(name))
}

fn is_bot(name: &str) -> bool {
    const LISTED: &[&str] = &[
        "Slurp",
        "facebookexternalhit",
        "facebookcatalog",
        "meta-externalagent",
        "Mediapartners-Google",
        "Google-InspectionTool",
        "GoogleOther",
        "Google-Read-Aloud",
        "Feedfetcher-Google",
        "BingPreview",
        "ChatGPT-User",
        "ia_archiver",
        "Embedly",
        "Chrome-Lighthouse",
    ];
    // A maker of telephones.
    if name.get(..5).is_some_and(|start| start.eq_ignore_ascii_case("cubot")) || name.contains(['.', ':', '@']) {
        return false;
    }
    let ends_in = |part: &str, kind: &str| {
        part.len()
            .checked_sub(kind.len())
            .and_then(|at| part.get(at..))
            .is_some_and(|end| end.eq_ignore_ascii_case(kind))
    };
    LISTED.contains(&name)
        || name.split(['-', '_']).any(|part| ["bot", "crawler", "spider"].iter().any(|kind| ends_in(part, kind)))
}
